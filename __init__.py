"""ComfyUI-IPAdapter-Atelier: image prompts for ComfyUI."""

WEB_DIRECTORY = "web"  # help pages of the nodes, and drawings in them while they are edited


async def comfy_entrypoint():
    from .nodes import IPAdapterAtelier  # deferred: importing this folder must not need ComfyUI

    return IPAdapterAtelier()

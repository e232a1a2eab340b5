"""ComfyUI-IPAdapter-Atelier: image prompts for ComfyUI."""

WEB_DIRECTORY = "web"  # help pages of the nodes, and drawings in them while they are edited


async def comfy_entrypoint():
    from pathlib import Path  # all deferred: importing this folder must not need ComfyUI

    import folder_paths

    from .doctor.host import warn_of_gaps

    warn_of_gaps(Path(str(folder_paths.__file__)).parent)
    from .nodes import IPAdapterAtelier  # after the warnings: where a name is gone, this fails

    return IPAdapterAtelier()

"""Nodes for tests only: tiny stand-ins for models, and windows on what a graph made."""


async def comfy_entrypoint():
    from . import (
        callers,
        small_encoders,  # noqa: F401  # changes what ComfyUI's encoder loader knows
    )
    from .nodes import TestNodes

    callers.register_plain_classes()
    return TestNodes()

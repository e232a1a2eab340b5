"""Nodes for tests only: tiny stand-ins for models, and windows on what a graph made."""


async def comfy_entrypoint():
    from .nodes import TestNodes

    return TestNodes()

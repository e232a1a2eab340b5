"""Warn of another pack with the same node ids: of two classes with one id, ComfyUI silently uses the later one."""

import logging
from collections.abc import Mapping

from comfy_api.latest import io

from nodes import NODE_CLASS_MAPPINGS  # pyright: ignore[reportAttributeAccessIssue] - the host's nodes.py
from server import PromptServer  # type: ignore[import-not-found]

log = logging.getLogger(__name__)


def watch_for_other_packs(ours: Mapping[str, type[io.ComfyNode]]) -> None:
    """Log one warning, once every pack is loaded, that names each pack with nodes of our ids."""
    earlier = other_packs(ours)
    app = getattr(getattr(PromptServer, "instance", None), "app", None)
    if app is None:  # a graph run without a server: nobody loads packs after this one
        _warn(earlier)
        return

    async def warn(_app: object) -> None:
        _warn(earlier | other_packs(ours))

    app.on_startup.append(warn)


def other_packs(ours: Mapping[str, type[io.ComfyNode]]) -> dict[str, str]:
    """Node ids of ours that another pack's class holds at present, with the name of its folder."""
    present = ((id, NODE_CLASS_MAPPINGS.get(id), node) for id, node in ours.items())
    return {id: _pack_of(held) for id, held, node in present if held is not None and held is not node}


def _pack_of(node: type) -> str:
    return str(getattr(node, "RELATIVE_PYTHON_MODULE", node.__module__)).removeprefix("custom_nodes.")


def _warn(held: Mapping[str, str]) -> None:
    if held:
        packs = ", ".join(sorted(set(held.values())))
        log.warning(
            "%d IPAdapter nodes (such as %s) also come from %s. ComfyUI keeps the pack that it loads last, so "
            "results may be the other pack's: "
            "remove or disable one of them (rename its folder to end in .disabled) and restart.",
            len(held), next(iter(held)), packs,
        )  # fmt: skip

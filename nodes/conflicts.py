"""Warn of another pack with the same node ids: of two classes with one id, ComfyUI silently uses the later one.

An environment variable of ComfyUI leaves out nodes of ours, so that the other pack's are used.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from comfy_api.latest import io

import nodes as host_nodes  # the host's nodes.py
from server import PromptServer  # type: ignore[import-not-found]

from ..doctor.host_needs import OTHER_PACKS
from .host import lacks

log = logging.getLogger(__name__)
WITHOUT = "ATELIER_WITHOUT_NODES"  # in ComfyUI's environment: node ids that are left out, separated by commas


def without_unwanted(nodes: Sequence[type[io.ComfyNode]]) -> list[type[io.ComfyNode]]:
    """The nodes, except those whose ids the environment variable lists; `*` in an id stands for any letters."""
    unwanted = [name.strip() for name in os.environ.get(WITHOUT, "").split(",")]
    ids = ((node, node.GET_SCHEMA().node_id) for node in nodes)
    return [node for node, id in ids if not any(fnmatchcase(id, name) for name in unwanted)]


def watch_for_other_packs(ours: Mapping[str, type[io.ComfyNode]]) -> None:
    """Log a warning for each pack with nodes of our ids, once every pack is loaded: it says whose nodes are used."""
    if lacks(OTHER_PACKS):
        return
    earlier = other_packs(ours)
    app = getattr(getattr(PromptServer, "instance", None), "app", None)
    if app is None:  # without a server: no pack is loaded after this one
        _warn(earlier, {})
        return

    async def warn(_app: object) -> None:
        _warn(earlier, other_packs(ours))

    app.on_startup.append(warn)


def other_packs(ours: Mapping[str, type[io.ComfyNode]]) -> dict[str, str]:
    """Node ids of ours that another pack's class holds at present, with the name of its folder."""
    loaded = host_nodes.NODE_CLASS_MAPPINGS  # pyright: ignore[reportAttributeAccessIssue]
    present = ((id, loaded.get(id), node) for id, node in ours.items())
    return {id: _pack_of(held) for id, held, node in present if held is not None and held is not node}


def _pack_of(node: type) -> str:
    return str(getattr(node, "RELATIVE_PYTHON_MODULE", node.__module__)).removeprefix("custom_nodes.")


def _warn(earlier: Mapping[str, str], later: Mapping[str, str]) -> None:
    """`earlier` are node ids of packs that were loaded before this one, `later` those of packs loaded after it.

    Their values are the packs' names.
    """
    for held, used in ((earlier, "this pack's are used"), (later, "the other's are used")):
        for pack in sorted(set(held.values())):
            ids = [id for id, holder in held.items() if holder == pack]
            log.warning(
                "%d nodes of IPAdapter Atelier (such as %s) also come from %s. ComfyUI keeps the pack that it loads "
                "last: %s. Remove or disable one of them (rename its folder to end in .disabled) and restart; or start "
                "ComfyUI with %s=%s in its environment, which leaves out those of this pack.",
                len(ids), ids[0], pack, used, WITHOUT, ",".join(ids),
            )  # fmt: skip

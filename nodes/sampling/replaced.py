"""Notice where another node put its patch in the place of ours, so that no image prompt acts there.

ComfyUI keeps one patch for a cross-attention, the last. Ours calls the one that it finds; some packs' do not.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...ipadapter.sites import Site
from ..notices import say_on_node
from .compiled import AttentionPatch

log = logging.getLogger(__name__)


def say_replaced(
    sites: Sequence[Site], reached: Iterable[Sequence[float]], asked: set[int], options: Mapping[str, Any]
) -> None:
    """Say on the node and in the log which patches stand in the place of ours, if any do.

    Args:
        reached: the weights of every prompt that acts in this model call, by layer
        asked: numbers of the sites whose patch was called in it, by the model or by another patch
    """
    weights = list(reached)
    present = options.get("patches_replace", {}).get("attn2", {})
    wanted = [number for number, site in enumerate(sites) if any(weight[site.layer] != 0 for weight in weights)]
    held = {number: present.get(sites[number].address, present.get(sites[number].block)) for number in wanted}
    theirs = [
        patch
        for number, patch in held.items()
        if patch is not None and number not in asked and not isinstance(patch, AttentionPatch)
    ]
    if theirs:
        names = ", ".join(sorted({_name_of(patch) for patch in theirs}))
        note = (
            f"Another node replaced the image prompts in {len(theirs)} of {len(wanted)} places ({names}), and they do "
            "not act there. Put that node before the IPAdapter nodes, which keep the patch that they find."
        )
        log.warning(note)
        say_on_node(note)


def _name_of(patch: Any) -> str:
    named = patch if hasattr(patch, "__qualname__") else type(patch)
    return f"{named.__module__}.{named.__qualname__.split('.')[0]}"

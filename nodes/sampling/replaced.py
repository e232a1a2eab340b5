"""Notice where another node put its patch in the place of ours, so that no image prompt acts there.

ComfyUI keeps one patch for a cross-attention of a UNet and one for a block of a transformer, the last. Ours calls the
one that it finds; some packs' do not.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...ipadapter.sites import Site
from ..notices import say_on_node

log = logging.getLogger(__name__)


class OwnPatch:
    """A patch of ours, whatever it replaces."""


@dataclass(frozen=True)
class Places:
    """Where image prompts can act in a model, and which patch a call's transformer options have there."""

    sites: Sequence[Site] = ()
    patch_at: Callable[[Mapping[str, Any], Site], Any] = lambda options, site: None


def say_replaced(
    places: Places,
    reached: Iterable[Sequence[float]],
    asked: set[int],
    options: Mapping[str, Any],
    without_attention: Mapping[int, Any],
) -> bool:
    """Say on the node and in the log which patches keep image prompts out, if any do; whether that was so.

    Args:
        reached: the weights of every prompt that acts in this model call, by layer; of the first layers perhaps
        asked: numbers of the sites where image prompts were asked for in it, by the model or by another patch
        without_attention: by number of a site, what ours found there and ran, and what never came to its attention
    """
    weights = list(reached)
    wanted = [n for n, site in enumerate(places.sites) if any(_reaches(weight, site) for weight in weights)]
    held = {number: places.patch_at(options, places.sites[number]) for number in wanted if number not in asked}
    after = [patch for patch in held.values() if patch is not None and not isinstance(patch, OwnPatch)]
    before = [without_attention[number] for number in held if number in without_attention]
    notes = []
    if after:
        notes.append(
            f"Another node replaced the image prompts in {len(after)} of {len(wanted)} places ({_names(after)}), and "
            "they do not act there. Put that node before the IPAdapter nodes, which keep the patch that they find."
        )
    if before:
        notes.append(
            f"Another node runs {len(before)} of {len(wanted)} blocks without their own attention ({_names(before)}), "
            "and the image prompts do not act there. Take that node out, or apply it to a model of its own."
        )
    for note in notes:
        log.warning(note)
        say_on_node(note)
    return bool(notes)


def _reaches(weights: Sequence[float], site: Site) -> bool:
    return site.layer < len(weights) and weights[site.layer] != 0


def _names(patches: Iterable[Any]) -> str:
    return ", ".join(sorted({_name_of(patch) for patch in patches}))


def _name_of(patch: Any) -> str:
    named = patch if hasattr(patch, "__qualname__") else type(patch)
    return f"{named.__module__}.{named.__qualname__.split('.')[0]}"

"""Detect other packs' patches and modules that run in place of our patches, so that image prompts do not act.

ComfyUI holds one patch per cross-attention of a UNet and one per block of a transformer: the last that was set. Our
patch calls the earlier patch; some packs' patches do not. Other packs replace a module of the model by one that may
call no patch at all.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence

from comfy.model_patcher import ModelPatcher

from ...ipadapter.sites import Site
from ..host_types import Options, OtherPatch
from .originals import replaced_modules
from .patches import OwnPatch
from .plan import Plan


def replaced_notes(
    sites: Sequence[Site],
    patch_at: Callable[[Options, Site], OtherPatch],
    plan: Plan,
    options: Options,
    model: ModelPatcher,
) -> list[str]:
    """Notes for the user about patches and modules that kept image prompts from acting in a model call; empty if there
    are none.
    """
    wanted = [number for number, site in enumerate(sites) if plan.call.acting(plan.prompts, site.layer)]
    missed = [number for number in wanted if number not in plan.reached]
    present = [patch_at(options, sites[number]) for number in missed]
    theirs = [patch for patch in present if patch is not None and not isinstance(patch, OwnPatch)]
    around = [plan.bypassed[number] for number in missed if number in plan.bypassed]
    in_place = [sites[number] for number, patch in zip(missed, present, strict=True) if isinstance(patch, OwnPatch)]
    modules = [found for site in in_place if (found := list(replaced_modules(model, site)))]
    notes = []
    if theirs:
        notes.append(
            f"Another node replaced the image prompts in {len(theirs)} of {len(wanted)} places ({_names(theirs)}), and "
            "they do not act there. Put that node before the IPAdapter nodes, which keep the patch that they find."
        )
    if around:
        notes.append(
            f"Another node runs {len(around)} of {len(wanted)} blocks without their own attention ({_names(around)}), "
            "and the image prompts do not act there. Take that node out, or apply it to a model of its own."
        )
    elif modules:
        notes.append(
            f"Another node replaced modules of the model in {len(modules)} of {len(wanted)} places "
            f"({_names(itertools.chain(*modules))}), and the image prompts do not act there. Take that node out, or "
            "apply it to a model of its own."
        )
    return notes


def _names(patches: Iterable[OtherPatch]) -> str:
    return ", ".join(sorted({_name_of(patch) for patch in patches}))


def _name_of(patch: OtherPatch) -> str:
    named = patch if hasattr(patch, "__qualname__") else type(patch)
    return f"{named.__module__}.{named.__qualname__.split('.')[0]}"

"""The roles of a model call's rows (branch, frame, area), read from `transformer_options`.

Our own entry there, KEY, holds the notes of the wrappers in hooks.py: the branches of conditionings, their areas, and
the canvas that areas refer to, and the number of latents in the whole batch.
"""

from collections.abc import Sequence

from torch import Tensor

from ...ipadapter.image_prompt import NEGATIVE, POSITIVE, Area, Rows
from ..host_types import Conds, HostModel, Options, OwnOptions
from .patches import KEY


def with_notes(model_options: OwnOptions, notes: OwnOptions) -> OwnOptions:
    """A copy of model options with more notes in our entry; the given options are not changed."""
    options = model_options.get("transformer_options", {})
    return {**model_options, "transformer_options": {**options, KEY: {**options.get(KEY, {}), **notes}}}


def guider_notes(guider: HostModel, noise: Tensor) -> OwnOptions:
    """Notes about a guider: the branches of its conditionings by name, their areas, its CFG, and the negative
    conditioning, for riding references without a conditioning of their own. `noise` is (batch, ..., height, width).
    """
    canvas = noise.shape[-2], noise.shape[-1]
    conds = {_uuids(conds): _branch(name, conds) for name, conds in guider.conds.items() if conds}
    areas = {
        cond["uuid"]: _flat(cond["area"])
        for conds in guider.conds.values()
        for cond in conds or ()
        if cond.get("area") is not None
    }
    text = next((conds[0] for conds in (guider.conds.get("negative"), *guider.conds.values()) if conds), None)
    own = {"canvas": canvas, "batch": len(noise)}
    return {"conds": conds, "areas": areas, "cfg": getattr(guider, "cfg", None), "text": text, **own}


def branches_of_conds(conds: Sequence[Conds], model_options: Options) -> tuple[str, ...]:
    """The branch of every list of conditionings in a call.

    ComfyUI's labels (`cond_or_uncond`) are positions in `conds`, and every guider has an order of its own.
    """
    known = model_options.get("transformer_options", {}).get(KEY, {}).get("conds", {})
    return tuple(known.get(_uuids(cond or ()), _branch_of(label)) for label, cond in enumerate(conds))


def read_rows(options: Options, count: int) -> Rows:
    """The `count` rows of a model call, from its transformer options; without branches if those are unknown.

    ComfyUI joins the latents of all conditionings in order. A sampler of another pack may put several tiles of a
    picture into one call: the rows are then in order of tiles, each with all of its conditionings. With any other
    number of rows, the conditioning of a row is unknown. If a call has a part of the batch and names no context window,
    the frames of its rows are unknown.
    """
    labels = options.get("cond_or_uncond") or [0]
    notes = options.get(KEY, {})
    known = notes.get("branches") or []
    branches = tuple(known[label] if label < len(known) else _branch_of(label) for label in labels)
    areas = tuple(notes.get("areas", {}).get(uuid) for uuid in options.get("uuids", ()))
    canvas = notes.get("canvas") if any(areas) else None
    window = _window(options)
    latents = len(window) if window else notes.get("latents", max(1, count // len(labels)))
    tiles, rest = divmod(count, len(labels) * latents)
    if rest or not tiles:
        return Rows((), count)
    placed = window is not None or latents >= notes.get("batch", 0)
    return Rows(branches * tiles, latents, window, areas * tiles if canvas else (), canvas, placed)


def _window(options: Options) -> tuple[int, ...] | None:
    """The numbers of the batch's frames in this call, from ComfyUI's context windows (with their anchor frame) or
    AnimateDiff-Evolved's; None without a window.
    """
    window = options.get("context_window")
    if window is not None and window.dim == 0:
        anchor = getattr(window, "causal_anchor_index", None)
        return (*([anchor] if anchor is not None and anchor >= 0 else []), *window.index_list)
    frames = options.get("ad_params", {}).get("sub_idxs")
    return tuple(frames) if frames is not None else None


def _branch_of(label: int) -> str:
    """The branch of a label of ComfyUI's own guider, which does not name its conditionings: label 1 is negative."""
    return NEGATIVE if label == 1 else POSITIVE


def _branch(name: str, conds: Sequence[Options]) -> str:
    kinds = {str(cond.get("prompt_type", name)) for cond in conds}
    return NEGATIVE if any("negative" in kind for kind in kinds) else POSITIVE


def _uuids(conds: Sequence[Options]) -> tuple:
    return tuple(cond.get("uuid") for cond in conds)


def _flat(area: Sequence[int]) -> Area:
    half = len(area) // 2  # (..., height, width, ..., top, left): video areas have a leading time
    return (*area[half - 2 : half], *area[-2:])  # type: ignore[return-value]

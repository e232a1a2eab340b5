"""Decide once per model call what every layer needs: what the rows are, and how strong each image prompt is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...ipadapter.cache import ContentCache
from ...ipadapter.image_prompt import NEGATIVE, POSITIVE, Area, ImagePrompt, Rows, role_gains
from ...masks.grid import mask_on_grid
from ...weight_schedules.position import SamplingPosition
from .compiled import NAME, AttentionPatch, answering, everywhere, graph_keyword, is_compiled

Kept = TypeVar("Kept")
BUDGET = 256 * 2**20  # bytes of arranged K/V and masks that a model keeps on the device while it samples
KEY = NAME  # our entry in transformer_options: notes from the wrappers, and the decision


@dataclass(frozen=True)
class ModelCall:
    """What one call of the UNet needs to know: what its rows are, and the weight of every prompt in every layer (None
    while idle).
    """

    rows: Rows
    weights: Mapping[ImagePrompt, Sequence[float] | None]


@dataclass(eq=False)
class Decider:
    """Decides once per model call which prompts act, how strongly, and on which rows."""

    prompts: tuple[ImagePrompt, ...]
    model_sampling: Any
    positions: WeakKeyDictionary = field(default_factory=WeakKeyDictionary)  # by model_sampling; chains share them
    idle: Sequence[AttentionPatch] = ()  # one per cross-attention, for graphs that serve whatever prompts reach
    store: ContentCache = field(default_factory=lambda: ContentCache(BUDGET))  # what layers need while sampling

    def __post_init__(self) -> None:
        """Look up what needs the host's noise schedule now: on a GPU, every look-up waits for the device."""
        position = self._position(self.model_sampling)
        for prompt in self.prompts:
            for percent in (prompt.start_at, prompt.end_at) if prompt.depends_on_sigma else ():
                position.sigma(percent)
            if not prompt.constant:
                position.percent(0.0)

    def on_sampler_sample(
        self, executor: Any, guider: Any, sigmas: Tensor, extra_args: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Note what the guider's conditionings are: their roles by name, their areas, and the canvas those refer to."""
        conds = {_uuids(conds): _role(name, conds) for name, conds in guider.conds.items() if conds}
        areas = {
            cond["uuid"]: _flat(cond["area"])
            for conds in guider.conds.values()
            for cond in conds or ()
            if cond.get("area") is not None
        }
        noise = args[1] if len(args) > 1 else kwargs["noise"]
        notes = {"conds": conds, "areas": areas, "canvas": tuple(noise.shape[-2:])}
        return executor(
            guider,
            sigmas,
            {**extra_args, "model_options": _with_notes(extra_args["model_options"], notes)},
            *args,
            **kwargs,
        )

    def on_calc_cond_batch(
        self,
        executor: Any,
        model: Any,
        conds: Sequence[Any],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> Any:
        """Note the role of every list of conditionings in this call; ComfyUI's labels are its positions, whose
        meaning guiders choose.
        """
        known = model_options.get("transformer_options", {}).get(KEY, {}).get("conds", {})
        roles = tuple(
            known.get(_uuids(cond or ()), NEGATIVE if label == 1 else POSITIVE) for label, cond in enumerate(conds)
        )
        return executor(model, conds, x, timestep, _with_notes(model_options, {"roles": roles}))

    def on_apply_model(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Any,
        c_crossattn: Any,
        control: Any,
        options: dict,
        **kwargs: Any,
    ) -> Any:
        call = self.decide(options, len(x), executor.class_obj.model_sampling)
        options = {**options, KEY: {**options.get(KEY, {}), "call": call}}
        if is_compiled(executor.class_obj, options):
            options = everywhere(options, self.idle)
            kwargs = {**kwargs, graph_keyword(options): None}
        with answering(options):
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    def call_for(self, prompts: Sequence[ImagePrompt], options: dict[str, Any], rows: int) -> ModelCall:
        """The decision for this model call; made here where a caller went around ComfyUI's `apply_model` or dropped
        our wrappers.
        """
        call = options.get(KEY, {}).get("call")
        return (
            call
            if call is not None and all(prompt in call.weights for prompt in prompts)
            else self.decide(options, rows, self.model_sampling)
        )

    def decide(self, options: dict[str, Any], rows: int, model_sampling: Any) -> ModelCall:
        """Read sigma at most once, and only where a prompt depends on it."""
        position = self._position(model_sampling)
        sigma = (
            float(options["sigmas"][0])
            if any(prompt.depends_on_sigma for prompt in self.prompts) and "sigmas" in options
            else None
        )
        return ModelCall(_rows(options, rows), {prompt: _weights(prompt, position, sigma) for prompt in self.prompts})

    def gain(self, prompt: ImagePrompt, layer: int, rows: Rows, grid: tuple[int, int], q: Tensor) -> Tensor | None:
        """The mask of a prompt on a level's tokens, (rows or 1, tokens or 1, 1), with what swapped layers leave out;
        None for all ones.
        """
        factors = role_gains(prompt, layer, rows)
        if prompt.mask is None and factors is None:
            return None
        key = ("gain", prompt, factors, rows, grid, q.device, q.dtype)
        return self.keep(key, lambda: _gain(prompt.mask, factors, rows, grid).to(q))

    def keep(self, key: tuple, make: Callable[[], Kept]) -> Kept:
        """What layers need again in the next step; no inference tensors, which samplers with gradients cannot use."""

        def plain() -> Kept:
            with torch.inference_mode(False), torch.no_grad():
                return make()

        return self.store.get_or_make(key, plain)

    def cleanup(self, *_: Any) -> None:
        """Give back what a sampling run left on the device."""
        self.store.clear()

    def _position(self, model_sampling: Any) -> SamplingPosition:
        if model_sampling not in self.positions:
            self.positions[model_sampling] = SamplingPosition(model_sampling.percent_to_sigma)
        return self.positions[model_sampling]


def _weights(prompt: ImagePrompt, position: SamplingPosition, sigma: float | None) -> Sequence[float] | None:
    if sigma is None or not prompt.depends_on_sigma:
        return prompt.weight_at(0.0)
    if not position.active(sigma, prompt.start_at, prompt.end_at):
        return None
    return prompt.weight_at(0.0 if prompt.constant else position.percent(sigma))


def _rows(options: dict[str, Any], rows: int) -> Rows:
    labels = options.get("cond_or_uncond") or [0]
    notes = options.get(KEY, {})
    roles = notes.get("roles") or []
    chunks = tuple(roles[label] if label < len(roles) else (NEGATIVE if label == 1 else POSITIVE) for label in labels)
    areas = tuple(notes.get("areas", {}).get(uuid) for uuid in options.get("uuids", ()))
    canvas = notes.get("canvas") if any(areas) else None
    return Rows(chunks, rows // len(labels), _window(options), areas if canvas else (), canvas)


def _window(options: dict[str, Any]) -> tuple[int, ...] | None:
    """The frames of the batch that this call samples: ComfyUI's context windows (with their anchor frame) or
    AnimateDiff-Evolved's.
    """
    window = options.get("context_window")
    if window is not None and window.dim == 0:
        anchor = getattr(window, "causal_anchor_index", None)
        return (*([anchor] if anchor is not None and anchor >= 0 else []), *window.index_list)
    frames = options.get("ad_params", {}).get("sub_idxs")
    return tuple(frames) if frames is not None else None


def _gain(mask: Tensor | None, factors: tuple[float, ...] | None, rows: Rows, grid: tuple[int, int]) -> Tensor:
    areas = rows.areas or (None,) * len(rows.roles)
    chunks = []
    for chunk, area in enumerate(areas):
        gain = mask_on_grid(mask, grid, area, rows.canvas) if mask is not None else torch.ones(1, 1, 1)
        gain = rows.pick_frames(gain) if len(gain) > 1 else gain
        chunks.append(gain if factors is None else gain * factors[chunk])
    if len(chunks[0]) == 1 and factors is None and not rows.areas:
        return chunks[0]
    return torch.cat([chunk.expand(rows.frames, -1, -1) for chunk in chunks])


def _role(name: str, conds: Sequence[Mapping[str, Any]]) -> str:
    kinds = {str(cond.get("prompt_type", name)) for cond in conds}
    return NEGATIVE if any("negative" in kind for kind in kinds) else POSITIVE


def _uuids(conds: Sequence[Mapping[str, Any]]) -> tuple:
    return tuple(cond.get("uuid") for cond in conds)


def _flat(area: Sequence[int]) -> Area:
    half = len(area) // 2  # (..., height, width, ..., top, left): video areas have a leading time
    return (*area[half - 2 : half], *area[-2:])  # type: ignore[return-value]


def _with_notes(model_options: dict[str, Any], notes: dict[str, Any]) -> dict[str, Any]:
    options = model_options.get("transformer_options", {})
    return {**model_options, "transformer_options": {**options, KEY: {**options.get(KEY, {}), **notes}}}

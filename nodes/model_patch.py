"""Bind image prompts to ComfyUI's model: the one module that touches `transformer_options`.

`attach` puts a patch on every cross-attention that some prompt reaches, and wrappers around sampling that decide, once per model call,
what every layer needs to know. Everything attached is new: nothing reachable from the model that came in is changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import comfy.ldm.modules.attention as host_attention
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ..ipadapter.attention import RESCALINGS, add_image_attention, fold_queries, image_attention
from ..ipadapter.image_prompt import NEGATIVE, POSITIVE, Area, ImagePrompt, Rows, arrange, role_gains
from ..ipadapter.layers import CrossAttention, find_cross_attentions
from ..masks.grid import mask_on_grid
from ..weight_schedules.position import SamplingPosition

KEY = "ipadapter_atelier"
_KEPT = 4  # arrangements of K/V a layer keeps at once: one per order of chunks, or per context window
Patch = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


@dataclass(frozen=True)
class ModelCall:
    """What one call of the UNet needs to know: what its rows are, and the weight of every prompt in every layer (None while idle)."""

    rows: Rows
    weights: Mapping[ImagePrompt, Sequence[float] | None]


def attach(model: ModelPatcher, prompts: Sequence[ImagePrompt]) -> ModelPatcher:
    """A clone of a model whose cross-attentions also attend to image prompts."""
    clone = model.clone()
    present = clone.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    earlier = clone.get_wrappers(WrappersMP.APPLY_MODEL, KEY)
    decider = Decider((*earlier[0].__self__.prompts, *prompts) if earlier else tuple(prompts), clone.get_model_object("model_sampling"))
    for number, attention in enumerate(find_cross_attentions(clone.get_model_object("diffusion_model"))):
        reaching = tuple(prompt for prompt in prompts if not prompt.constant or prompt.weight_at(0.0)[attention.layer] != 0)
        before = present.get(attention.address, present.get(attention.block))
        if not reaching:
            continue
        if isinstance(before, ImagePromptPatch):
            patch = ImagePromptPatch(attention, number, decider, before.prompts + reaching, before.before, before.added)
        else:
            patch = ImagePromptPatch(attention, number, decider, reaching, before)
        own_position = attention.depth > 1 or attention.address in present  # other packs use two-part keys where a block has one layer
        clone.set_model_attn2_replace(patch, *attention.block, attention.position if own_position else None)
    _install(clone, decider)
    return clone


def attached_prompts(model: ModelPatcher) -> tuple[ImagePrompt, ...]:
    """Every image prompt attached to a model, in the order in which they were applied."""
    earlier = model.get_wrappers(WrappersMP.APPLY_MODEL, KEY)
    return earlier[0].__self__.prompts if earlier else ()


def _install(model: ModelPatcher, decider: "Decider") -> None:
    wrappers = {
        WrappersMP.SAMPLER_SAMPLE: decider.on_sampler_sample,
        WrappersMP.CALC_COND_BATCH: decider.on_calc_cond_batch,
        WrappersMP.APPLY_MODEL: decider.on_apply_model,
    }
    for kind, wrapper in wrappers.items():
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    model.remove_callbacks_with_key(CallbacksMP.ON_CLONE, KEY)
    model.add_callback_with_key(CallbacksMP.ON_CLONE, KEY, _give_own_patches)


def _give_own_patches(original: ModelPatcher, clone: ModelPatcher) -> None:
    """Clones share patch objects, and packs that call `add` on one would change every clone: so each clone gets its own."""
    patches = clone.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    for key, patch in patches.items():
        if isinstance(patch, ImagePromptPatch):
            patches[key] = patch.copy()


class ImagePromptPatch:
    """Replaces one cross-attention: the text attention (or whatever patch was there before) plus the attention of every image prompt."""

    def __init__(
        self,
        attention: CrossAttention,
        number: int,
        decider: "Decider",
        prompts: tuple[ImagePrompt, ...],
        before: Patch | None = None,
        added: tuple[tuple[Callable[..., Tensor], dict[str, Any]], ...] = (),
    ) -> None:
        self.attention, self.number, self.decider = attention, number, decider
        self.prompts, self.before, self.added = prompts, before, added
        self._arranged: dict[tuple, tuple[Tensor, Tensor]] = {}

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        out = self.before(q, k, v, options) if self.before is not None else text_attention(q, k, v, options)
        grid = tuple(options["activations_shape"][-2:])
        if q.shape[1] == grid[0] * grid[1]:  # the temporal attention of video models has other tokens, and no image to look at
            call = self.decider.call_for(self.prompts, options, len(q))
            out = self._image_attentions(out, q, call, grid, options)
        for callback, arguments in self.added:
            if arguments["sigma_end"] <= float(options["sigmas"][0]) <= arguments["sigma_start"]:
                out = out + callback(out, q, k, v, options, **arguments)
        return out

    def _image_attentions(self, out: Tensor, q: Tensor, call: ModelCall, grid: tuple[int, int], options: dict[str, Any]) -> Tensor:
        queries: dict[int, Tensor] = {}
        for prompt in self.prompts:
            weights = call.weights[prompt]
            if weights is None or weights[self.attention.layer] == 0:
                continue
            keys, values = self._keys_values(prompt, call.rows, weights[self.attention.layer], q)
            groups = len(keys)
            if groups not in queries:
                queries[groups] = fold_queries(q, groups, self.attention.heads)
            image = image_attention(queries[groups], keys, values, _attend(options), q.shape)
            out = add_image_attention(out, image, self.decider.gain(prompt, self.attention.layer, call.rows, grid, q))
        return out

    def _keys_values(self, prompt: ImagePrompt, rows: Rows, weight: float, q: Tensor) -> tuple[Tensor, Tensor]:
        rescale = None if prompt.constant else RESCALINGS.get(prompt.scaling)
        arranged_weight = weight if rescale is None else 1.0
        key = (prompt, q.device, q.dtype, rows.roles, rows.indices if prompt.rows_differ else None, arranged_weight)
        if key not in self._arranged:
            while len(self._arranged) >= _KEPT * len(self.prompts):
                self._arranged.pop(next(iter(self._arranged)), None)
            pair = arrange(prompt, self.number, self.attention.layer, rows, self.attention.heads, arranged_weight)
            self._arranged[key] = (pair[0].to(q), pair[1].to(q))
        keys, values = self._arranged[key]
        return (keys, values) if rescale is None else rescale(keys, values, weight)

    def add(self, callback: Callable[..., Tensor], **arguments: Any) -> None:
        """Stack another pack's attention callback, in the way such packs call it on whatever patch they find."""
        self.added = (*self.added, (callback, arguments))

    def copy(self) -> "ImagePromptPatch":
        return ImagePromptPatch(self.attention, self.number, self.decider, self.prompts, self.before, self.added)

    def to(self, target: object) -> "ImagePromptPatch":
        """K/V follow q at every call, so there is nothing to move here; a patch before this one may have something."""
        if hasattr(self.before, "to"):
            self.before.to(target)  # type: ignore[union-attr]
        return self

    def models(self) -> list[Any]:
        """What ComfyUI must load for sampling: adapters only where K/V are computed on the way."""
        inner = self.before.models() if hasattr(self.before, "models") else []  # type: ignore[union-attr]
        return [*inner, *(model for prompt in self.prompts for model in prompt.models)]

    def cleanup(self) -> None:
        self._arranged.clear()
        self.decider.cleanup()
        if hasattr(self.before, "cleanup"):
            self.before.cleanup()  # type: ignore[union-attr]


@dataclass(eq=False)
class Decider:
    """Decides once per model call which prompts act, how strongly, and on which rows."""

    prompts: tuple[ImagePrompt, ...]
    model_sampling: Any
    _positions: WeakKeyDictionary = field(default_factory=WeakKeyDictionary)
    _gains: dict[tuple, Tensor] = field(default_factory=dict)

    def on_sampler_sample(self, executor: Any, guider: Any, sigmas: Tensor, extra_args: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Note what the guider's conditionings are: their roles by name, their areas, and the canvas those refer to."""
        conds = {_uuids(conds): _role(name, conds) for name, conds in guider.conds.items() if conds}
        areas = {cond["uuid"]: _flat(cond["area"]) for conds in guider.conds.values() for cond in conds or () if cond.get("area") is not None}
        noise = args[1] if len(args) > 1 else kwargs["noise"]
        notes = {"conds": conds, "areas": areas, "canvas": tuple(noise.shape[-2:])}
        return executor(guider, sigmas, {**extra_args, "model_options": _with_notes(extra_args["model_options"], notes)}, *args, **kwargs)

    def on_calc_cond_batch(
        self, executor: Any, model: Any, conds: Sequence[Any], x: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> Any:
        """Note the role of every list of conditionings in this call; ComfyUI's labels are its positions, whose meaning guiders choose."""
        known = model_options.get("transformer_options", {}).get(KEY, {}).get("conds", {})
        roles = tuple(known.get(_uuids(cond or ()), NEGATIVE if label == 1 else POSITIVE) for label, cond in enumerate(conds))
        return executor(model, conds, x, timestep, _with_notes(model_options, {"roles": roles}))

    def on_apply_model(self, executor: Any, x: Tensor, t: Tensor, c_concat: Any, c_crossattn: Any, control: Any, options: dict, **kwargs: Any) -> Any:
        call = self.decide(options, len(x), executor.class_obj.model_sampling)
        options = {**options, KEY: {**options.get(KEY, {}), "call": call}}
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)

    def call_for(self, prompts: Sequence[ImagePrompt], options: dict[str, Any], rows: int) -> ModelCall:
        """The decision for this model call; made here where a caller went around ComfyUI's `apply_model` or dropped our wrappers."""
        call = options.get(KEY, {}).get("call")
        return call if call is not None and all(prompt in call.weights for prompt in prompts) else self.decide(options, rows, self.model_sampling)

    def decide(self, options: dict[str, Any], rows: int, model_sampling: Any) -> ModelCall:
        """Read sigma at most once, and only where a prompt depends on it."""
        if model_sampling not in self._positions:
            self._positions[model_sampling] = SamplingPosition(model_sampling.percent_to_sigma)
        position = self._positions[model_sampling]
        sigma = float(options["sigmas"][0]) if any(prompt.depends_on_sigma for prompt in self.prompts) and "sigmas" in options else None
        return ModelCall(_rows(options, rows), {prompt: _weights(prompt, position, sigma) for prompt in self.prompts})

    def gain(self, prompt: ImagePrompt, layer: int, rows: Rows, grid: tuple[int, int], q: Tensor) -> Tensor | None:
        """The mask of a prompt on a level's tokens, (rows or 1, tokens or 1, 1), with what swapped layers leave out; None for all ones."""
        factors = role_gains(prompt, layer, rows)
        if prompt.mask is None and factors is None:
            return None
        key = (prompt, factors, rows, grid, q.device, q.dtype)
        if key not in self._gains:
            self._gains[key] = _gain(prompt.mask, factors, rows, grid).to(q)
        return self._gains[key]

    def cleanup(self) -> None:
        self._gains.clear()


def text_attention(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
    """The attention that ComfyUI itself computes where no patch is, with its precision, backend and overrides."""
    return host_attention.optimized_attention(
        q, k, v, options["n_heads"], attn_precision=options.get("attn_precision"), transformer_options=options
    )


def _attend(options: dict[str, Any]) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    """The host's backend. Sub-quadratic and split attention bound the memory of long keys; for a few image tokens plain SDPA does better."""
    backend = host_attention.optimized_attention
    if backend in (host_attention.attention_sub_quad, host_attention.attention_split, host_attention.attention_basic):
        backend = host_attention.attention_pytorch
    precision = options.get("attn_precision")
    return lambda q, k, v, heads: backend(
        q, k, v, heads, attn_precision=precision, skip_reshape=True, skip_output_reshape=True, transformer_options=options
    )


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
    """The frames of the batch that this call samples: ComfyUI's context windows (with their anchor frame) or AnimateDiff-Evolved's."""
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

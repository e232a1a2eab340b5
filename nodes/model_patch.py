"""Bind image prompts to ComfyUI's model. Only this module and `model_call` touch `transformer_options`.

`attach` puts a patch on every cross-attention that some prompt reaches, and wrappers around sampling that decide,
once per model call, what every layer needs to know. Everything attached is new: nothing reachable from the model that
came in is changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import comfy.ldm.modules.attention as host_attention
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ..ipadapter.attention import add_image_attention, at_weight, fold_queries, image_attention
from ..ipadapter.cache import ContentCache
from ..ipadapter.image_prompt import ImagePrompt, Rows, arrange
from ..ipadapter.layers import CrossAttention, find_cross_attentions
from .compiled import AttentionPatch
from .model_call import BUDGET, KEY, Decider, ModelCall

Patch = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


def attach(model: ModelPatcher, prompts: Sequence[ImagePrompt]) -> ModelPatcher:
    """A clone of a model whose cross-attentions also attend to image prompts."""
    clone = model.clone()
    present = clone.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    earlier = _decider(model)
    attentions = find_cross_attentions(clone.get_model_object("diffusion_model"))
    decider = Decider(
        (*attached_prompts(model), *prompts),
        clone.get_model_object("model_sampling"),
        earlier.positions if earlier else WeakKeyDictionary(),
        tuple(TextAttention(attention, number) for number, attention in enumerate(attentions)),
    )
    for number, attention in enumerate(attentions):
        reaching = tuple(
            prompt for prompt in prompts if not prompt.constant or prompt.weight_at(0.0)[attention.layer] != 0
        )
        before = present.get(attention.address, present.get(attention.block))
        if isinstance(before, ImagePromptPatch):
            patch = ImagePromptPatch(attention, number, decider, before.prompts + reaching, before.before, before.added)
        elif reaching:
            patch = ImagePromptPatch(attention, number, decider, reaching, before)
        else:
            continue
        # Other packs use two-part keys where a block has one layer.
        own_position = attention.depth > 1 or attention.address in present
        clone.set_model_attn2_replace(patch, *attention.block, attention.position if own_position else None)
    _install(clone, decider)
    return clone


def attached_prompts(model: ModelPatcher) -> tuple[ImagePrompt, ...]:
    """Every image prompt attached to a model, in the order in which they were applied."""
    decider = _decider(model)
    return decider.prompts if decider else ()


def _decider(model: ModelPatcher) -> Decider | None:
    wrappers = model.get_wrappers(WrappersMP.APPLY_MODEL, KEY)
    return getattr(wrappers[0], "__self__", None) if wrappers else None


def change_prompts(model: ModelPatcher, change: Callable[[ImagePrompt], ImagePrompt]) -> ModelPatcher:
    """A clone of a model whose attached image prompts are replaced, each by what `change` makes of it."""
    clone = model.clone()
    changed = {prompt: change(prompt) for prompt in attached_prompts(model)}
    earlier = _decider(model)
    if earlier is None:
        return clone
    decider = replace(earlier, prompts=tuple(changed.values()), store=ContentCache(BUDGET))
    patches = clone.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    for key, patch in patches.items():
        if isinstance(patch, ImagePromptPatch):
            prompts = tuple(changed[prompt] for prompt in patch.prompts)
            patches[key] = ImagePromptPatch(patch.attention, patch.number, decider, prompts, patch.before, patch.added)
    _install(clone, decider)
    return clone


class Observer(Protocol):
    """Looks on while a model samples."""

    def begin(self) -> None:
        """A sampling run starts."""
        ...

    def see(
        self,
        sigma: float,
        attention: CrossAttention,
        grid: tuple[int, int],
        call: ModelCall,
        text: Tensor,
        image: Tensor,
    ) -> None:
        """What text and image prompts gave one cross-attention, (rows, tokens, channels) each."""
        ...


def watch(model: ModelPatcher, observer: Observer) -> ModelPatcher:
    """A clone of a model that shows an observer every cross-attention that image prompts reach."""
    clone = model.clone()
    options = clone.model_options["transformer_options"]
    options[KEY] = {**options.get(KEY, {}), "observer": observer}

    def begin(executor: Any, *args: Any, **kwargs: Any) -> Any:
        observer.begin()
        return executor(*args, **kwargs)

    clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, f"{KEY} observer")
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, f"{KEY} observer", begin)
    return clone


def _install(model: ModelPatcher, decider: Decider) -> None:
    wrappers = {
        WrappersMP.SAMPLER_SAMPLE: decider.on_sampler_sample,
        WrappersMP.CALC_COND_BATCH: decider.on_calc_cond_batch,
        WrappersMP.APPLY_MODEL: decider.on_apply_model,
    }
    for kind, wrapper in wrappers.items():
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    callbacks = {CallbacksMP.ON_CLONE: _give_own_patches, CallbacksMP.ON_CLEANUP: decider.cleanup}
    for kind, callback in callbacks.items():
        model.remove_callbacks_with_key(kind, KEY)
        model.add_callback_with_key(kind, KEY, callback)


def _give_own_patches(original: ModelPatcher, clone: ModelPatcher) -> None:
    """Clones share patch objects, and packs that call `add` on one would change every clone: so each clone gets its
    own.
    """
    patches = clone.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    for key, patch in patches.items():
        if isinstance(patch, ImagePromptPatch):
            patches[key] = patch.copy()


class TextAttention(AttentionPatch):
    """Stands in a compiled graph where no image prompt reaches, so that one graph serves all weights."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        return text_attention(q, k, v, options)


class ImagePromptPatch(AttentionPatch):
    """Replaces one cross-attention: the text attention (or whatever patch was there before) plus the attention of
    every image prompt.
    """

    def __init__(
        self,
        attention: CrossAttention,
        number: int,
        decider: Decider,
        prompts: tuple[ImagePrompt, ...],
        before: Patch | None = None,
        added: tuple[tuple[Callable[..., Tensor], dict[str, Any]], ...] = (),
    ) -> None:
        super().__init__(attention, number)
        self.decider, self.prompts, self.before, self.added = decider, prompts, before, added

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """The text attention plus that of the image prompts, as decided for this model call."""
        out = self.before(q, k, v, options) if self.before is not None else text_attention(q, k, v, options)
        grid = tuple(options["activations_shape"][-2:])
        # The temporal attention of video models has other tokens, and no image to look at.
        if q.shape[1] == grid[0] * grid[1]:
            call = self.decider.call_for(self.prompts, options, len(q))
            text, out = out, self._image_attentions(out, q, call, grid, options)
            if observer := options.get(KEY, {}).get("observer"):
                observer.see(float(options["sigmas"][0]), self.attention, grid, call, text, out - text)
        for callback, arguments in self.added:
            if arguments["sigma_end"] <= float(options["sigmas"][0]) <= arguments["sigma_start"]:
                out = out + callback(out, q, k, v, options, **arguments)
        return out

    def _image_attentions(
        self, out: Tensor, q: Tensor, call: ModelCall, grid: tuple[int, int], options: dict[str, Any]
    ) -> Tensor:
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
        if prompt.constant:
            return self._arranged(prompt, rows, weight, q)
        return at_weight(self._arranged(prompt, rows, 0.0, q), self._arranged(prompt, rows, 1.0, q), weight)

    def _arranged(self, prompt: ImagePrompt, rows: Rows, weight: float, q: Tensor) -> tuple[Tensor, Tensor]:
        def make() -> tuple[Tensor, Tensor]:
            k, v = arrange(prompt, self.number, self.attention.layer, rows, self.attention.heads, weight)
            return k.to(q), v.to(q)

        frames = rows.indices if prompt.rows_differ else None
        return self.decider.keep((prompt, self.number, q.device, q.dtype, rows.roles, frames, weight), make)

    def add(self, callback: Callable[..., Tensor], **arguments: Any) -> None:
        """Stack another pack's attention callback, in the way such packs call it on whatever patch they find."""
        self.added = (*self.added, (callback, arguments))

    def copy(self) -> "ImagePromptPatch":
        return ImagePromptPatch(self.attention, self.number, self.decider, self.prompts, self.before, self.added)

    def to(self, target: object) -> "ImagePromptPatch":
        """K/V follow q at every call, so there is nothing to move; a patch before this one may have something."""
        if hasattr(self.before, "to"):
            self.before = self.before.to(target)  # type: ignore[union-attr]
        return self

    def models(self) -> list[Any]:
        """What ComfyUI must load for sampling: adapters only where K/V are computed on the way."""
        inner = self.before.models() if hasattr(self.before, "models") else []  # type: ignore[union-attr]
        return [*inner, *(model for prompt in self.prompts for model in prompt.models)]

    def cleanup(self) -> None:
        if hasattr(self.before, "cleanup"):
            self.before.cleanup()  # type: ignore[union-attr]


def text_attention(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
    """The attention that ComfyUI itself computes where no patch is, with its precision, backend and overrides."""
    return host_attention.optimized_attention(
        q, k, v, options["n_heads"], attn_precision=options.get("attn_precision"), transformer_options=options
    )


def _attend(options: dict[str, Any]) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    """The host's backend. Sub-quadratic and split attention bound the memory of long keys; for a few image tokens
    plain SDPA does better.
    """
    backend = host_attention.optimized_attention
    if backend in (host_attention.attention_sub_quad, host_attention.attention_split, host_attention.attention_basic):
        backend = host_attention.attention_pytorch
    precision = options.get("attn_precision")
    return lambda q, k, v, heads: backend(
        q,
        k,
        v,
        heads,
        attn_precision=precision,
        skip_reshape=True,
        skip_output_reshape=True,
        transformer_options=options,
    )

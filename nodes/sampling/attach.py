"""Attach image prompts to a model: patches where they act, and wrappers around sampling that decide once per call.

Everything attached is new: nothing reachable from the model that came in is changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ...ipadapter.cache import ContentCache
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.layers import Block, CrossAttention, find_cross_attentions, layer_blocks
from .call import BUDGET, KEY, Decider, ModelCall
from .unet import ImagePromptPatch, TextAttention


def blocks_of(model: ModelPatcher) -> tuple[Block, ...]:
    """The layers of a model, in the order in which it runs them."""
    return layer_blocks(find_cross_attentions(model.get_model_object("diffusion_model")))


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

"""Attach image prompts to a model: patches where they act, and wrappers around sampling that decide once per call.

Everything attached is new: nothing reachable from the model that came in is changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ...ipadapter.cache import ContentCache
from ...ipadapter.families import Block
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.sites import Site, find_sites, layer_blocks, structure_of
from ..host import refuse_changed_host
from . import transformer, unet
from .call import BUDGET, Decider, ModelCall
from .compiled import AttentionPatch
from .replaced import Places
from .rows import KEY


@dataclass(frozen=True)
class Binding:
    """How image prompts get into the sites of a structure (a key of ipadapter.sites.STRUCTURES)."""

    install: Callable[[ModelPatcher, Site, int, Decider, tuple[ImagePrompt, ...]], None]
    replace_patches: Callable[[ModelPatcher, Callable[[Any], Any]], None]
    idle_patches: Callable[[Sequence[Site]], Sequence[AttentionPatch]]
    patch_at: Callable[[Mapping[str, Any], Site], Any]


_TRANSFORMER = Binding(transformer.install, transformer.replace_patches, transformer.idle_patches, transformer.patch_at)
BINDINGS: dict[str, Binding] = {
    "unet": Binding(unet.install, unet.replace_patches, unet.idle_patches, unet.patch_at),
    "flux": _TRANSFORMER,
    "mmdit": _TRANSFORMER,
}


def sites_of(model: ModelPatcher) -> tuple[Site, ...]:
    """Where image prompts can act in a model, in the order in which it runs."""
    return find_sites(model.get_model_object("diffusion_model"))


def blocks_of(model: ModelPatcher) -> tuple[Block, ...]:
    """The layers of a model, in the order in which it runs them."""
    return layer_blocks(sites_of(model))


def attach(model: ModelPatcher, prompts: Sequence[ImagePrompt]) -> ModelPatcher:
    """A clone of a model that also attends to image prompts, at every site that they reach."""
    refuse_changed_host(structure_of(model.get_model_object("diffusion_model")))
    clone = model.clone()
    binding, sites = _binding(clone), sites_of(clone)
    decider = Decider(
        (*attached_prompts(model), *prompts),
        clone.get_model_object("model_sampling"),
        binding.idle_patches(sites),
        Places(sites, binding.patch_at),
    )
    for number, site in enumerate(sites):
        reaching = tuple(p for p in prompts if site.layer < p.layers and _acts(p, site.layer))
        binding.install(clone, site, number, decider, reaching)
    _install(clone, decider)
    return clone


def _acts(prompt: ImagePrompt, layer: int) -> bool:
    return not prompt.weights.constant or prompt.weights.at(0.0)[layer] != 0


def attached_prompts(model: ModelPatcher) -> tuple[ImagePrompt, ...]:
    """Every image prompt attached to a model, in the order in which they were applied."""
    decider = decider_of(model)
    return decider.prompts if decider else ()


def decider_of(model: ModelPatcher) -> Decider | None:
    """What decides for the image prompts of a model; None where it has none."""
    return model.get_attachment(KEY)


def change_prompts(model: ModelPatcher, change: Callable[[ImagePrompt], ImagePrompt]) -> ModelPatcher:
    """A clone of a model whose attached image prompts are replaced, each by what `change` makes of it."""
    clone = model.clone()
    earlier = decider_of(model)
    if earlier is None:
        return clone
    changed = {prompt: change(prompt) for prompt in earlier.prompts}
    decider = replace(earlier, prompts=tuple(changed.values()), store=ContentCache(BUDGET))
    _binding(clone).replace_patches(
        clone, lambda patch: patch.with_prompts(decider, tuple(changed[prompt] for prompt in patch.prompts))
    )
    _install(clone, decider)
    return clone


class Observer(Protocol):
    """Looks on while a model samples."""

    def begin(self) -> None:
        """A sampling run starts."""
        ...

    def see(
        self, sigma: float, site: Site, grid: tuple[int, int], call: ModelCall, text: Tensor, image: Tensor
    ) -> None:
        """What text and image prompts gave at one site, (rows, tokens, channels) each."""
        ...


def watch(model: ModelPatcher, observer: Observer) -> ModelPatcher:
    """A clone of a model that shows an observer every site that image prompts reach."""
    clone = model.clone()
    options = clone.model_options["transformer_options"]
    options[KEY] = {**options.get(KEY, {}), "observer": observer}

    def begin(executor: Any, *args: Any, **kwargs: Any) -> Any:
        observer.begin()
        return executor(*args, **kwargs)

    clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, f"{KEY} observer")
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, f"{KEY} observer", begin)
    return clone


def _binding(model: ModelPatcher) -> Binding:
    return BINDINGS[structure_of(model.get_model_object("diffusion_model"))]


def _install(model: ModelPatcher, decider: Decider) -> None:
    """The wrappers and callbacks of a decider, in place of an earlier one's."""
    model.set_attachments(KEY, decider)
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
    _binding(clone).replace_patches(clone, lambda patch: patch.copy())

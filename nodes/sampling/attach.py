"""Attach image prompts and riders to a clone of a model.

Patches act at the sites that prompts reach; wrappers around sampling make one plan per model call. The model that came
in, its options and its patches are not changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar, cast

import comfy.sd
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ...doctor.host_needs import MEMORY, PROMPTS, REFERENCES, UNET_REFERENCES
from ...ipadapter.errors import ModelMismatchError
from ...ipadapter.families import Block
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.sites import (
    FLUX_BLOCKS,
    JOINT_BLOCKS,
    UNET,
    Site,
    Structure,
    find_layers,
    find_sites,
    layer_blocks,
    structure_of,
)
from ...ipadapter.weights import Weights
from ..host import lacks, refuse_changed_host
from ..host_types import Executor, Options, OtherPatch
from ..notices import say_notes
from . import transformer, unet
from .call import read_noise_schedule
from .hooks import Hooks, on_calc_cond_batch, on_prepare_sampling
from .originals import lacking, original_model, originals_in_place, refuse_replaced_projections
from .patches import KEY, AttentionPatch
from .plan import Observer
from .reference_weights import ReferenceWeight, ReferenceWeights
from .riders import Rider
from .run import Run

LOST_LORA = (
    "Another node replaced modules of the model by {classes}, which lack weights of this LoRA, so the LoRA does not "
    "act there. Take that node out of this workflow, or merge the LoRA before it."
)
R = TypeVar("R", bound=Rider)


class Binding(Protocol):
    """The functions that patch the sites of one structure. The modules unet.py and transformer.py implement it."""

    def install(
        self, clone: ModelPatcher, site: Site, number: int, hooks: Hooks, prompts: tuple[ImagePrompt, ...], /
    ) -> None: ...

    def replace_patches(self, clone: ModelPatcher, change: Callable[[OtherPatch], OtherPatch], /) -> None: ...

    def idle_patches(self, sites: Sequence[Site], hooks: Hooks, /) -> Sequence[AttentionPatch]: ...

    def patch_at(self, options: Options, site: Site, /) -> OtherPatch: ...


BINDINGS: dict[Structure, Binding] = {UNET: unet, FLUX_BLOCKS: transformer, JOINT_BLOCKS: transformer}


def sites_of(model: ModelPatcher) -> tuple[Site, ...]:
    """The sites of a model, in execution order.

    Raises:
        ModelMismatchError: no adapter can act in the model.
        AdapterError: ComfyUI's models have other parts than those that the pack knows.
    """
    try:
        return find_sites(original_model(model))
    except ModelMismatchError:
        refuse_changed_host("image prompts", *PROMPTS)
        raise


def with_lora_weights(model: ModelPatcher, lora: Mapping[str, Tensor], strength: float) -> ModelPatcher:
    """A clone of a model with a LoRA, put by ComfyUI's own code on the modules that the model was loaded with.

    If another pack replaced modules of this clone by some without weights that the LoRA changes, a note names them.
    """
    with originals_in_place(model):
        # The host's function returns None only for a model of None.
        clone = cast(ModelPatcher, comfy.sd.load_lora_for_models(model, None, lora, strength, 0)[0])
    new = [name for name, patches in clone.patches.items() if len(patches) > len(model.patches.get(name, ()))]
    if classes := lacking(clone, new):
        say_notes([LOST_LORA.format(classes=" and ".join(classes))])
    return clone


def blocks_of(model: ModelPatcher) -> tuple[Block, ...]:
    """The layers of a model that have sites, in execution order; ModelMismatchError if no adapter can act in it."""
    return layer_blocks(sites_of(model))


def layers_of(model: ModelPatcher) -> tuple[Block, ...]:
    """The layers of a model in execution order, also of edit models, which have layers but no sites."""
    return find_layers(original_model(model))


def attach(model: ModelPatcher, prompts: Sequence[ImagePrompt]) -> ModelPatcher:
    """A clone of a model that also attends to these image prompts, at every site that they reach.

    Raises:
        ModelMismatchError: no adapter can act in the model.
        AdapterError: ComfyUI or another pack's module lacks what the patches need.
    """
    refuse_changed_host("image prompts in this model", structure_of(model.get_model_object("diffusion_model")).name)
    clone = model.clone()
    binding, sites = _binding(clone), sites_of(clone)
    model_sampling = clone.get_model_object("model_sampling")
    earlier = hooks_of(model)
    riders = earlier.riders if earlier else ()
    hooks = Hooks((*attached_prompts(model), *prompts), model_sampling, sites, binding.patch_at, riders=riders)
    hooks.idle = binding.idle_patches(sites, hooks)
    refuse_replaced_projections(clone, [site for site in sites if any(p.reaches(site.layer) for p in prompts)])
    for number, site in enumerate(sites):
        reaching = tuple(p for p in prompts if p.reaches(site.layer) and p.mechanism.acts_in(site.block))
        binding.install(clone, site, number, hooks, reaching)
    _install(clone, hooks)
    return clone


def attached_prompts(model: ModelPatcher) -> tuple[ImagePrompt, ...]:
    """The image prompts attached to a model, in the order in which they were applied."""
    hooks = hooks_of(model)
    return hooks.prompts if hooks else ()


def hooks_of(model: ModelPatcher) -> Hooks | None:
    """The Hooks of a model; None if neither image prompts nor riders are attached to it."""
    return model.get_attachment(KEY)


def change_prompts(model: ModelPatcher, change: Callable[[ImagePrompt], ImagePrompt]) -> ModelPatcher:
    """A clone of a model, with `change(prompt)` in place of every attached image prompt."""
    clone = model.clone()
    earlier = hooks_of(model)
    if earlier is None:
        return clone
    changed = {prompt: change(prompt) for prompt in earlier.prompts}
    _change_hooks(clone, replace(earlier, prompts=tuple(changed.values()), run=Run()), changed)
    return clone


def attach_rider(model: ModelPatcher, rider: Rider) -> ModelPatcher:
    """A clone of a model with a rider, which replaces an earlier rider of the same class.

    AdapterError if ComfyUI lacks what riders need in the model.
    """
    network = model.get_model_object("diffusion_model")
    kind = UNET_REFERENCES if UNET.fits(network) else REFERENCES
    refuse_changed_host("references in this model", kind, type(getattr(network, "_orig_mod", network)).__name__)
    clone = model.clone()
    earlier = hooks_of(model) or Hooks((), model.get_model_object("model_sampling"))
    others = [other for other in earlier.riders if type(other) is not type(rider)]
    riders = tuple(sorted((*others, rider), key=lambda rider: rider.order))
    _change_hooks(clone, replace(earlier, riders=riders, run=Run()), {prompt: prompt for prompt in earlier.prompts})
    return clone


def weigh_reference(
    model: ModelPatcher, reference: int, weights: Weights, start_at: float, end_at: float, mask: Tensor | None
) -> ModelPatcher:
    """A clone of an edit model whose references are weighed: `reference` is a number from 1, or 0 for all references.

    `weights` multiply those of earlier calls. `start_at` and `end_at` are sampling percents, 0 to 1. `mask` is
    (m, height, width) on the canvas.
    """
    earlier = rider_of(model, ReferenceWeights)
    setting = ReferenceWeight(reference, weights, start_at, end_at, mask)
    settings = (*(earlier.settings if earlier else ()), setting)
    read_noise_schedule(model.get_model_object("model_sampling"), [one for one in settings if one.depends_on_sigma])
    return attach_rider(model, ReferenceWeights(settings))


def weighed_references(model: ModelPatcher) -> tuple[int, ...]:
    """The numbers of the references that IPAdapter Reference Weights nodes weigh; (0,) if a node weighs all."""
    rider = rider_of(model, ReferenceWeights)
    numbers = {setting.reference for setting in rider.settings} if rider else set()
    return (0,) if 0 in numbers else tuple(sorted(numbers))


def rider_of(model: ModelPatcher, kind: type[R]) -> R | None:
    """The model's rider of class `kind`; None if it has none."""
    hooks = hooks_of(model)
    return next((rider for rider in hooks.riders if isinstance(rider, kind)), None) if hooks else None


def _change_hooks(clone: ModelPatcher, hooks: Hooks, changed: Mapping[ImagePrompt, ImagePrompt]) -> None:
    """Replace the hooks of a clone, and in its patches every image prompt by its value in `changed`."""
    if hooks.prompts:
        binding = _binding(clone)
        hooks.idle = binding.idle_patches(hooks.sites, hooks)
        binding.replace_patches(
            clone, lambda patch: patch.with_prompts(hooks, tuple(changed[prompt] for prompt in patch.prompts))
        )
    _install(clone, hooks)


def watch(model: ModelPatcher, observer: Observer) -> ModelPatcher:
    """A clone of a model that calls an observer at every site that image prompts reach, and in every attention to
    references that are weighed.
    """
    clone = model.clone()
    options = clone.model_options["transformer_options"]
    options[KEY] = {**options.get(KEY, {}), "observer": observer}

    def begin(executor: Executor, *args: object, **kwargs: object) -> Tensor:
        observer.begin()
        return executor(*args, **kwargs)

    clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, f"{KEY} observer")
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, f"{KEY} observer", begin)
    return clone


def _binding(model: ModelPatcher) -> Binding:
    return BINDINGS[structure_of(model.get_model_object("diffusion_model"))]


def _install(model: ModelPatcher, hooks: Hooks) -> None:
    """Set the wrappers and callbacks of `hooks` on a clone, in place of those of earlier hooks."""
    model.set_attachments(KEY, hooks)
    wrappers = {
        WrappersMP.SAMPLER_SAMPLE: hooks.on_sampler_sample,
        WrappersMP.CALC_COND_BATCH: on_calc_cond_batch,
        WrappersMP.APPLY_MODEL: hooks.on_apply_model,
    }
    if hooks.riders and not lacks(MEMORY):
        wrappers[WrappersMP.PREPARE_SAMPLING] = partial(on_prepare_sampling, hooks)
    for kind, wrapper in wrappers.items():
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    callbacks = {CallbacksMP.ON_CLONE: _give_own_patches, CallbacksMP.ON_CLEANUP: hooks.on_cleanup}
    for kind, callback in callbacks.items():
        model.remove_callbacks_with_key(kind, KEY)
        model.add_callback_with_key(kind, KEY, callback)


def _give_own_patches(original: ModelPatcher, clone: ModelPatcher) -> None:
    """Copy our patches for a clone. ComfyUI's clones share patch objects, so a pack that calls `add` on a patch of one
    clone would change all of them.
    """
    if attached_prompts(clone):
        _binding(clone).replace_patches(clone, lambda patch: patch.copy())

"""Multiply the weights of every reference on a model: image prompts, reference weights and riding references."""

from dataclasses import replace

from comfy.model_patcher import ModelPatcher

from ...ipadapter.image_prompt import ImagePrompt
from ...weight_schedules.schedule import FirstLayers, Schedule, multiplied
from ..sampling.attach import attached_prompts, change_prompts, layers_of, rider_of, weigh_reference, weighed_references
from ..sampling.riding import Ride, change_references
from .apply import checked_product
from .references import check_not_subtracted
from .riding import checked_shares


def rescale(model: ModelPatcher, schedule: Schedule) -> ModelPatcher:
    """A clone of a model with the weights of every reference on it, if any, multiplied by a schedule.

    An edit model's own references are multiplied once each, if an IPAdapter Reference Weights node weighs them.

    Raises:
        AdapterError: a product is a weight that its reference cannot have: below 0 for a reference of an edit model,
            above 1 for a riding reference.
    """
    factor = schedule.resolve(layers_of(model))

    def rescaled(prompt: ImagePrompt) -> ImagePrompt:
        of_prompt = FirstLayers(factor, prompt.layers)
        return replace(prompt, weights=checked_product(multiplied(prompt.weights, of_prompt)))

    model = change_prompts(model, rescaled)
    model = change_references(
        model, lambda riding: replace(riding, weights=checked_shares(multiplied(riding.weights, factor)))
    )
    for number in weighed_references(model):
        check_not_subtracted(checked_product(factor))
        model = weigh_reference(model, number, factor, 0.0, 1.0, None)
    return model


def reached_layers(model: ModelPatcher) -> int:
    """The number of layers, from the first, for which references on a model have weights; 0 if it has no reference."""
    if weighed_references(model) or rider_of(model, Ride) is not None:
        return len(layers_of(model))
    return max((prompt.layers for prompt in attached_prompts(model)), default=0)

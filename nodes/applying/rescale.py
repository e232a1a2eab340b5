"""Multiply the weights of every image prompt on a model."""

from dataclasses import replace

from comfy.model_patcher import ModelPatcher

from ...ipadapter.image_prompt import ImagePrompt
from ...weight_schedules.schedule import FirstLayers, Schedule, multiplied
from ..sampling.attach import blocks_of, change_prompts
from .apply import checked_product


def rescale(model: ModelPatcher, schedule: Schedule) -> ModelPatcher:
    """A clone of a model with the weights of every image prompt on it, if any, multiplied by a schedule."""
    factor = schedule.resolve(blocks_of(model))

    def rescaled(prompt: ImagePrompt) -> ImagePrompt:
        of_prompt = FirstLayers(factor, prompt.layers)
        return replace(prompt, weights=checked_product(multiplied(prompt.weights, of_prompt)))

    return change_prompts(model, rescaled)

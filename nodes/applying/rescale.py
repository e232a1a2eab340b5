"""Multiply the weights of every image prompt on a model."""

from dataclasses import replace

from comfy.model_patcher import ModelPatcher

from ...weight_schedules.schedule import Schedule, multiplied
from ..sampling.attach import blocks_of, change_prompts


def rescale(model: ModelPatcher, schedule: Schedule) -> ModelPatcher:
    """A clone of a model with the weights of every image prompt on it, if any, multiplied by a schedule."""
    factor = schedule.resolve(blocks_of(model))
    return change_prompts(model, lambda prompt: replace(prompt, weights=multiplied(prompt.weights, factor)))

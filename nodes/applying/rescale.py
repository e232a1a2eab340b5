"""Multiply the weights of every image prompt on a model."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from comfy.model_patcher import ModelPatcher

from ...ipadapter.image_prompt import ImagePrompt
from ...weight_schedules.schedule import Resolved, Schedule, multiply_frames
from ..sampling.attach import blocks_of, change_prompts


def rescale(model: ModelPatcher, schedule: Schedule) -> ModelPatcher:
    """A clone of a model with the weights of every image prompt on it, if any, multiplied by a schedule."""
    resolved = schedule.resolve(blocks_of(model))
    return change_prompts(model, lambda prompt: _rescaled(prompt, resolved))


def _rescaled(prompt: ImagePrompt, resolved: Resolved) -> ImagePrompt:
    return replace(
        prompt,
        weight_at=_product(prompt, resolved),
        constant=prompt.constant and resolved.constant,
        swapped=prompt.swapped | resolved.swapped,
        frame_weights=multiply_frames(prompt.frame_weights or (), resolved.frames) or None,
    )


def _product(prompt: ImagePrompt, resolved: Resolved) -> Callable[[float], Sequence[float]]:
    def weight_at(percent: float) -> Sequence[float]:
        return [own * factor for own, factor in zip(prompt.weight_at(percent), resolved.at(percent), strict=True)]

    fixed = weight_at(0.0)
    return (lambda percent: fixed) if prompt.constant and resolved.constant else weight_at

"""One knob for a whole chain of adapters."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..ipadapter.image_prompt import ImagePrompt
from ..weight_schedules.schedule import Resolved, Schedule, WeightSchedule, multiply_frames
from .inputs import model as model_input, model_output
from .model_patch import change_prompts
from .schedules import CATEGORY, blocks_of, number, schedule as schedule_input


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


class IPAdapterRescale(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterRescale",
            display_name="IPAdapter Rescale",
            category=CATEGORY,
            description="One knob for every reference applied so far: multiplies all their weights.",
            search_aliases=["master weight", "global strength"],
            inputs=[
                model_input(),
                number("factor", 1.0, -5.0, 5.0, "Multiplies the weights of every reference: 0 switches them all off."),
                schedule_input(optional=True, tooltip="Multiplies the weights in every layer at every moment as well."),
            ],
            outputs=[model_output()],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, factor: float, schedule: Schedule | None = None) -> io.NodeOutput:
        return io.NodeOutput(rescale(model, (schedule or WeightSchedule()).scaled(factor)))


NODES: list[type[io.ComfyNode]] = [IPAdapterRescale]

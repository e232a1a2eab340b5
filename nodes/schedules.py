"""Weight schedules: write, combine, draw them, save them as text."""

from collections.abc import Callable, Mapping
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ..charts.heat_map import draw_schedule
from ..ipadapter.errors import AdapterError
from ..ipadapter.families import LAYOUTS
from ..weight_schedules.layers import WEIGHT_TYPES
from ..weight_schedules.position import SamplingPosition
from ..weight_schedules.schedule import METHODS, CombinedSchedule, Schedule, WeightSchedule
from ..weight_schedules.schedule_json import from_json, to_json
from ..weight_schedules.steps import BETWEEN, SHAPES, Points, StepCurve, parse_points
from .drawn import to_image
from .host_types import NoiseSchedule
from .inputs import Choice, CurveType, ScheduleType
from .node import AtelierNode
from .sampling.attach import layers_of
from .sockets import Model, Weight

CATEGORY = "ipadapter/schedules"
CURVE_SAMPLES = 64  # straight pieces that stand for a drawn curve

LAYERS_TIP = (
    "Which layers act, by weight type. 'ease in' here fades over the layers, from the first to the last; "
    "to fade over time use steps."
)
LAYER_TEXT_TIP = (
    "Layers by name, in place of the weight type: numbers (3:2.5, 6:1), ranges (0-3:0.5), down, mid, up, all, ComfyUI "
    "blocks (input8), diffusers paths (up_blocks.0.attentions.1), style, composition. Other layers get weight 0."
)
STEPS_TIP = (
    "How the weight moves between low and high while sampling. 'ease in' comes in over time, 'ease out' goes out, "
    "'ease in-out' is strongest in the middle, 'reverse in-out' at both ends."
)
LOW_TIP = "Weight where the shape is lowest; of a constant one, the weight before start and after end."
BEFORE_TIP = "its first value holds before, except that a constant one is low there."
AFTER_TIP = "its last value holds after, except that a constant one is low there."


def schedule(id: str = "schedule", optional: bool = False, tooltip: str = "A weight schedule.") -> io.Input:
    return ScheduleType.Input(id, optional=optional, tooltip=tooltip)


def schedule_output() -> io.Output:
    return ScheduleType.Output(display_name="schedule", tooltip="For the schedule input of an apply node.")


def number(id: str, default: float, minimum: float, maximum: float, tooltip: str, optional: bool = False) -> io.Input:
    return io.Float.Input(id, default=default, min=minimum, max=maximum, step=0.05, tooltip=tooltip, optional=optional)


class IPAdapterWeightSchedule(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        points_tip = "Points in place of the shape, percent:weight: 0:1, 0.5:0.2, 1:0. Two at one percent make a jump."
        curve_tip = "A curve from ComfyUI's Curve Editor, in place of shape and points."
        frames_tip = "One weight per frame of a batch, from an IPAdapter Weights node. Multiplies the rest."
        return io.Schema(
            node_id="IPAdapterWeightSchedule",
            display_name="IPAdapter Weight Schedule",
            category=CATEGORY,
            description=(
                "How strong a reference is, in which layer and at which moment of sampling. The weight of the apply "
                "node multiplies it."
            ),
            search_aliases=["ease in", "weight over steps", "layer weights", "timestep schedule"],
            inputs=[
                Choice("layers", options=WEIGHT_TYPES, tooltip=LAYERS_TIP),
                io.String.Input("layer_text", default="", multiline=True, tooltip=LAYER_TEXT_TIP),
                Choice("steps", options=list(SHAPES), tooltip=STEPS_TIP),
                number("low", 0.0, -5.0, 5.0, LOW_TIP),
                number("high", 1.0, -5.0, 5.0, "Weight where the shape is highest."),
                number("start", 0.0, 0.0, 1.0, f"Share of sampling where the shape begins; {BEFORE_TIP}"),
                number("end", 1.0, 0.0, 1.0, f"Share of sampling where the shape ends; {AFTER_TIP}"),
                io.String.Input("points", default="", multiline=True, optional=True, tooltip=points_tip),
                Choice("between", options=list(BETWEEN), optional=True, tooltip="How the points are joined."),
                number("scale", 1.0, -10.0, 10.0, "Multiplies the whole schedule.", optional=True),
                CurveType.Input("curve", optional=True, tooltip=curve_tip, extra_dict={"forceInput": True}),
                io.Float.Input("frame_weights", optional=True, force_input=True, tooltip=frames_tip),
            ],
            outputs=[schedule_output()],
        )

    @classmethod
    def run(
        cls,
        layers: str,
        layer_text: str,
        steps: str,
        low: float,
        high: float,
        start: float,
        end: float,
        points: str = "",
        between: str = "linear",
        scale: float = 1.0,
        curve: object = None,
        frame_weights: Weight = (),
    ) -> io.NodeOutput:
        placed = curve_points(curve) if curve is not None else parse_points(points)
        course = StepCurve(steps, low, high, start, end, placed, "linear" if curve is not None else between)
        frames = (frame_weights,) if isinstance(frame_weights, int | float) else tuple(frame_weights)
        return io.NodeOutput(WeightSchedule(layer_text.strip() or layers, course, frames, scale))


def curve_points(curve: object) -> Points:
    """A curve of ComfyUI's Curve Editor as points: sampled where it can evaluate itself, else as it was drawn."""
    evaluate: Callable[[float], float] | None = getattr(curve, "interp", None)
    if evaluate is None:
        try:
            drawn: Any = curve["points"] if isinstance(curve, Mapping) else curve
            return tuple((float(at), float(weight)) for at, weight in drawn)
        except (KeyError, TypeError, ValueError) as error:
            raise AdapterError(
                f"curve needs a curve of ComfyUI's Curve Editor or pairs of numbers, got {curve!r:.80}."
            ) from error
    return tuple((step / CURVE_SAMPLES, evaluate(step / CURVE_SAMPLES)) for step in range(CURVE_SAMPLES + 1))


class IPAdapterCombineSchedules(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = (
            "multiply, add, or the stronger of both, in every layer at every moment; or the layers that carry "
            "composition (or style) from the second and all others from the first."
        )
        return io.Schema(
            node_id="IPAdapterCombineSchedules",
            display_name="IPAdapter Combine Schedules",
            category=CATEGORY,
            description="Makes one weight schedule of two.",
            inputs=[
                schedule("first", tooltip="The schedule that counts where the method does not ask for the second."),
                schedule("second", tooltip="The other schedule."),
                Choice("method", options=METHODS, tooltip=tip),
                number("scale", 1.0, -10.0, 10.0, "Multiplies the combined schedule."),
            ],
            outputs=[schedule_output()],
        )

    @classmethod
    def run(cls, first: Schedule, second: Schedule, method: str, scale: float) -> io.NodeOutput:
        return io.NodeOutput(CombinedSchedule(method, first, second, scale))


class IPAdapterSchedulePreview(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        sigmas_tip = "Draws the steps of this run, from a scheduler node. Needs the model too."
        return io.Schema(
            node_id="IPAdapterSchedulePreview",
            display_name="IPAdapter Schedule Preview",
            category=CATEGORY,
            description="Shows a weight schedule: a row for every layer, from noise (left) to picture (right).",
            is_output_node=True,
            inputs=[
                schedule(tooltip="The schedule to look at."),
                Choice(
                    "family",
                    options=list(LAYOUTS),
                    tooltip="Family of models whose layers are drawn while no model is connected.",
                ),
                io.Model.Input("model", optional=True, tooltip="The model of the schedule, whose layers are drawn."),
                io.Sigmas.Input("sigmas", optional=True, tooltip=sigmas_tip),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The picture of the schedule.")],
        )

    @classmethod
    def run(
        cls, schedule: Schedule, family: str, model: Model | None = None, sigmas: Tensor | None = None
    ) -> io.NodeOutput:
        blocks = LAYOUTS[family] if model is None else layers_of(model)
        percents = None if sigmas is None else step_percents(model, sigmas)
        image = to_image(draw_schedule(schedule.resolve(blocks), blocks, percents))
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))


def position_of(model: Model) -> SamplingPosition:
    """Between sigma and the percent of sampling, by the noise schedule that the model has now."""
    model_sampling: NoiseSchedule = model.get_model_object("model_sampling")
    return SamplingPosition(model_sampling.percent_to_sigma)


def step_percents(model: Model | None, sigmas: Tensor) -> list[float]:
    """The sampling percent at which every step of a list of sigmas begins."""
    if model is None:
        raise ValueError("To draw the steps of a list of sigmas, connect the model that they are for as well.")
    position = position_of(model)
    return [position.percent(sigma) for sigma in sigmas[:-1].tolist()]


class IPAdapterScheduleToText(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterScheduleToText",
            display_name="IPAdapter Schedule To Text",
            category=CATEGORY,
            description="Writes a weight schedule as JSON text, to keep, share or change by hand.",
            is_output_node=True,
            inputs=[schedule(tooltip="The schedule to write down.")],
            outputs=[io.String.Output(display_name="text", tooltip="For IPAdapter Schedule From Text.")],
        )

    @classmethod
    def run(cls, schedule: Schedule) -> io.NodeOutput:
        text = to_json(schedule)
        return io.NodeOutput(text, ui=ui.PreviewText(text))


class IPAdapterScheduleFromText(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = "The text of an IPAdapter Schedule To Text."
        return io.Schema(
            node_id="IPAdapterScheduleFromText",
            display_name="IPAdapter Schedule From Text",
            category=CATEGORY,
            description="Reads a weight schedule from JSON text.",
            inputs=[io.String.Input("text", default='{"version": 1, "schedule": {}}', multiline=True, tooltip=tip)],
            outputs=[schedule_output()],
        )

    @classmethod
    def run(cls, text: str) -> io.NodeOutput:
        return io.NodeOutput(from_json(text))


NODES: list[type[io.ComfyNode]] = [
    IPAdapterWeightSchedule,
    IPAdapterCombineSchedules,
    IPAdapterSchedulePreview,
    IPAdapterScheduleToText,
    IPAdapterScheduleFromText,
]

"""Multiply the weights of every reference on a model, for a whole chain of apply nodes."""

from comfy_api.latest import io

from ..weight_schedules.schedule import Schedule, WeightSchedule
from .applying.rescale import rescale
from .inputs import model as model_input, model_output
from .node import AtelierNode
from .schedules import CATEGORY, number, schedule as schedule_input
from .sockets import Model


class IPAdapterRescale(AtelierNode):
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
    def run(cls, model: Model, factor: float, schedule: Schedule | None = None) -> io.NodeOutput:
        return io.NodeOutput(rescale(model, (schedule or WeightSchedule()).scaled(factor)))


NODES: list[type[io.ComfyNode]] = [IPAdapterRescale]

"""One knob for a whole chain of adapters."""

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..weight_schedules.schedule import Schedule, WeightSchedule
from .applying.rescale import rescale
from .inputs import model as model_input, model_output
from .schedules import CATEGORY, number, schedule as schedule_input


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

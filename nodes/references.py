"""The weights of the reference pictures that an edit model takes itself."""

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from . import inputs
from .applying.references import weigh_references
from .node import AtelierNode
from .sockets import Model

CATEGORY = "ipadapter/reference"
MODEL = "Edit model that takes reference pictures itself: Flux Kontext, Flux.2, Qwen-Image-Edit, Krea 2, Mage-Flow."
REFERENCE = "Number of the reference picture, as Set Reference Latent nodes added them: 1 is the first, 0 weighs all."
WEIGHT = (
    "How much of the attention the reference gets: 1 is the model's own, 0 leaves it out. Go by factors: 2, 0.5, 0.25."
)


class IPAdapterReferenceWeights(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterReferenceWeights",
            display_name="IPAdapter Reference Weights",
            category=CATEGORY,
            description="How much an edit model heeds a reference picture of its own (Set Reference Latent), in which "
            "part of the picture and of sampling. Needs no adapter.",
            search_aliases=["reference strength", "kontext weight", "edit model", "reference latent mask"],
            inputs=[
                io.Model.Input("model", tooltip=MODEL),
                io.Int.Input("reference", default=0, min=0, max=16, tooltip=REFERENCE),
                io.Float.Input("weight", default=1.0, min=0.0, max=10.0, step=0.05, tooltip=WEIGHT),
                *inputs.active_range(),
                inputs.attn_mask(),
                inputs.schedule(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model with weighed references.")],
        )

    @classmethod
    def run(
        cls,
        model: Model,
        reference: int,
        weight: float,
        start_at: float,
        end_at: float,
        attn_mask: Tensor | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(weigh_references(model, reference, weight, start_at, end_at, attn_mask, schedule))


NODES: list[type[io.ComfyNode]] = [IPAdapterReferenceWeights]

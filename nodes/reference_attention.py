"""References without an adapter: the model itself runs on the reference, and self-attentions attend to it."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from . import inputs
from .applying.riding import LAYERS, Looks, ride_along
from .node import AtelierNode
from .sockets import Conditioning, Latent, Model

# Whether the keys of references compete; None where the model decides.
METHODS: dict[str, bool | None] = {"auto": None, "swap": False, "compete": True}

MODEL = (
    "Any UNet for pictures (SD1.5, SD2, SDXL, Kolors). As an experiment: Flux, Chroma, SD3.5, Qwen-Image, Z-Image, "
    "Krea 2. No adapter needed."
)
WEIGHT = "Share of the attention that the reference takes. On UNets its effect is weak below 0.75."
LATE = (
    "late: layers on the way out, of transformers the last three quarters; for style with little content. all: "
    "strongest."
)
METHOD = (
    "swap: in place of the picture. compete: queries choose. auto: swap on UNets, on transformers compete at half the "
    "weight."
)
MATCH = "How far the picture's queries take the mean and spread of the reference's. Rarely helps."
NEGATIVE = "The part of the weight in rows of the negative prompt. 0 is strongest: CFG multiplies the effect."
PER_FRAME = "On: the first picture of a batch looks at the first latent of the reference, and so on."


def share(id: str, default: float, tooltip: str, **more: Any) -> io.Input:
    return io.Float.Input(id, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip, **more)


def advanced_inputs() -> list[io.Input]:
    more: Any = {"optional": True, "advanced": True}
    return [
        inputs.Choice("method", options=list(METHODS), default="auto", tooltip=METHOD, **more),
        share("match", 0.0, MATCH, **more),
        share("negative", 1.0, NEGATIVE, **more),
        io.Boolean.Input("per_frame", default=False, tooltip=PER_FRAME, **more),
    ]


class IPAdapterReferenceAttention(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterReferenceAttention",
            display_name="IPAdapter Reference Attention",
            category="ipadapter/reference",
            description=(
                "Lets a model follow a reference picture without any adapter: the model itself runs on the reference "
                "at every step, and the picture's self-attention attends to it. For style, palette and texture. An "
                "experiment on Flux, SD3.5 and other transformers."
            ),
            search_aliases=["reference only", "style aligned", "visual style prompting", "without adapter"],
            inputs=[
                io.Model.Input("model", tooltip=MODEL),
                io.Latent.Input("latent", tooltip="The reference from VAE Encode with this model's VAE, in any shape."),
                share("weight", 1.0, WEIGHT),
                inputs.Choice("layers", options=list(LAYERS), default="late", tooltip=LATE),
                *inputs.active_range(),
                io.Conditioning.Input(
                    "text",
                    optional=True,
                    tooltip="What the reference shows, or an empty text. Not connected: the run's negative prompt.",
                ),
                inputs.attn_mask(),
                inputs.ScheduleType.Input(
                    "schedule", optional=True, tooltip="Shares over layers and steps, which take the place of layers."
                ),
                *advanced_inputs(),
            ],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model that looks at the reference.")],
        )

    @classmethod
    def run(
        cls,
        model: Model,
        latent: Latent,
        weight: float,
        layers: str,
        start_at: float,
        end_at: float,
        text: Conditioning | None = None,
        attn_mask: Tensor | None = None,
        schedule: Schedule | None = None,
        method: str = "auto",
        match: float = 0.0,
        negative: float = 1.0,
        per_frame: bool = False,
    ) -> io.NodeOutput:
        competes = METHODS[method]
        looks = Looks(weight, layers, start_at, end_at, attn_mask, schedule, competes, match, negative, per_frame)
        return io.NodeOutput(ride_along(model, latent, text, looks))


NODES: list[type[io.ComfyNode]] = [IPAdapterReferenceAttention]

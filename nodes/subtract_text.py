"""Style without content: take the meaning of words out of a reference's embeds."""

from comfy_api.latest import io
from torch import Tensor

from ..encoders.text_embeds import METHODS, phrases, without_text
from . import inputs
from .applying.scoring import text_embeds
from .node import AtelierNode
from .sockets import ClipVision

STRENGTH = "subtract: the text's length as a share of the embeds' own; 0.2 to 0.5. project out: 1 takes all of it away."
METHOD = (
    "subtract is the paper's: the text's direction is taken off, whether or not it was there. project out takes off "
    "only what the reference has along each phrase."
)


class IPAdapterSubtractText(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterSubtractText",
            display_name="IPAdapter Subtract Text",
            category="ipadapter/embeds",
            description="Takes the meaning of words out of a reference, so that its style remains and its subject does "
            "not (InstantStyle). For adapters that take pooled embeds, not plus.",
            search_aliases=["instantstyle", "content subtraction", "negative content"],
            inputs=[
                inputs.embeds(tooltip="pos_embed of an IPAdapter Encoder, for IPAdapter Embeds."),
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="The encoder that made the embeds, with its text tower: from IPAdapter OpenCLIP Loader.",
                ),
                io.String.Input(
                    "words",
                    default="",
                    multiline=True,
                    tooltip="What to take out of the reference: a cat, sofa. Not a style.",
                ),
                io.Float.Input("strength", default=0.5, min=-2.0, max=4.0, step=0.05, tooltip=STRENGTH),
                inputs.Choice("method", options=list(METHODS), tooltip=METHOD),
            ],
            outputs=[inputs.EmbedsType.Output(display_name="EMBEDS", tooltip="The reference without those words.")],
        )

    @classmethod
    def run(cls, embeds: Tensor, clip_vision: ClipVision, words: str, strength: float, method: str) -> io.NodeOutput:
        return io.NodeOutput(without_text(embeds, text_embeds(clip_vision, phrases(words)), strength, method))


NODES: list[type[io.ComfyNode]] = [IPAdapterSubtractText]

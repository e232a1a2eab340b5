"""Maps of the regions of a picture in which references acted."""

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..charts.attention_map import CONTRAST, attention_map
from ..charts.heat_map import colours_of
from ..ipadapter.errors import AdapterError
from ..weight_schedules.layer_text import parse_layer_text
from .inputs import AttentionType, Choice, model as model_input, model_output
from .node import AtelierNode
from .notices import say_notes
from .sampling.attach import attached_prompts, blocks_of, layers_of, rider_of, watch, weighed_references
from .sampling.recorder import Recorder
from .sampling.riding import Ride
from .sockets import Model

CATEGORY = "ipadapter/attention"
RIDING = (
    "References of IPAdapter Reference Attention are not recorded: their weight, layers and attn_mask already say what "
    "share of the attention they get, and where."
)
REFERENCE = (
    "0: the image prompts; on a model without any, all references of IPAdapter Reference Weights together. 1, 2 ...: "
    "one of these references, by its number."
)


class IPAdapterAttentionRecorder(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterAttentionRecorder",
            display_name="IPAdapter Attention Recorder",
            category=CATEGORY,
            description=(
                "Records the attention while this model samples, for IPAdapter Attention Map. Put it before the "
                "sampler."
            ),
            inputs=[model_input()],
            outputs=[
                model_output(),
                AttentionType.Output(
                    display_name="attention", tooltip="The recorded attention, for IPAdapter Attention Map."
                ),
            ],
        )

    @classmethod
    def run(cls, model: Model) -> io.NodeOutput:
        recorder = recorder_of(model)
        return io.NodeOutput(watch(model, recorder), recorder)


def recorder_of(model: Model) -> Recorder:
    """A recorder of a model's image prompts and weighed references; AdapterError if it has riding references alone."""
    prompted, weighed = bool(attached_prompts(model)), bool(weighed_references(model))
    if rider_of(model, Ride) is not None:
        if not (prompted or weighed):
            raise AdapterError(f"This model has no other reference to record. {RIDING} Take the recorder out.")
        say_notes([RIDING])
    return Recorder(layers_of(model) if weighed else blocks_of(model), prompted)


class IPAdapterAttentionMap(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        layers_tip = "Layers to look at: all, style, composition, 6, 0-3, input8, up_blocks.0.attentions.1 ..."
        contrast_tip = (
            "stretched: from black at the least to white at the most. share: how much comes from the reference."
        )
        return io.Schema(
            node_id="IPAdapterAttentionMap",
            display_name="IPAdapter Attention Map",
            category=CATEGORY,
            description="Where in the picture its references acted, as a mask and laid over the picture.",
            search_aliases=["heat map", "attention visualization"],
            is_output_node=True,
            inputs=[
                AttentionType.Input("attention", tooltip="The recorded attention of an IPAdapter Attention Recorder."),
                io.Image.Input("image", tooltip="The picture that was sampled with the recorder's model."),
                io.String.Input("layers", default="all", tooltip=layers_tip),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of sampling from which the map counts.",
                ),
                io.Float.Input(
                    "end",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of sampling up to which the map counts.",
                ),
                Choice("contrast", options=list(CONTRAST), tooltip=contrast_tip),
                io.Float.Input(
                    "opacity",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Opacity of the colours on the picture.",
                ),
                io.Int.Input("reference", default=0, min=0, max=16, optional=True, tooltip=REFERENCE),
            ],
            outputs=[
                io.Mask.Output(display_name="MASK", tooltip="White where the references acted."),
                io.Image.Output(display_name="overlay", tooltip="The picture with the map in colours over it."),
            ],
        )

    @classmethod
    def run(
        cls,
        attention: Recorder,
        image: Tensor,
        layers: str,
        start: float,
        end: float,
        contrast: str,
        opacity: float,
        reference: int = 0,
    ) -> io.NodeOutput:
        factors = parse_layer_text(layers, attention.blocks)
        chosen = [layer for layer, factor in enumerate(factors) if factor]
        size = image.shape[1], image.shape[2]
        mask = attention_map(attention.seen, chosen, start, end, size, contrast, reference)
        picture = overlay(image, mask, opacity)
        return io.NodeOutput(mask, picture, ui=ui.PreviewImage(picture, cls=cls))


def overlay(image: Tensor, mask: Tensor, opacity: float) -> Tensor:
    """A map (frames, h, w) in colours, drawn over pictures (n, h, w, 3); frames beyond the pictures are left out."""
    pictures = image[: len(mask), ..., :3].cpu()
    colours = torch.from_numpy(colours_of(mask[: len(pictures)].numpy(), 1.0)).float() / 255.0
    return pictures.lerp(colours, opacity)


NODES: list[type[io.ComfyNode]] = [IPAdapterAttentionRecorder, IPAdapterAttentionMap]

"""The inputs and outputs that nodes share, one function for each, so that a schema is a list of them.

The order of a schema's inputs is the order in which saved workflows keep the values:
`inputs=[model(), ipadapter(), image(), weight(maximum=5), weight_type(), *active_range(), *optional_images()]`.
"""

import math
from collections.abc import Sequence

from comfy_api.latest import io

from ..ipadapter.attention import SCALINGS
from ..ipadapter.embeds import COMBINE
from ..weight_schedules.layers import WEIGHT_TYPES
from .old.names import FIRST_TYPES

IPAdapterType = io.Custom("IPADAPTER")
InsightFaceType = io.Custom("INSIGHTFACE")
EmbedsType = io.Custom("EMBEDS")
ParamsType = io.Custom("IPADAPTER_PARAMS")
StrategyType = io.Custom("WEIGHTS_STRATEGY")
ScheduleType = io.Custom("IPADAPTER_SCHEDULE")
AttentionType = io.Custom("IPADAPTER_ATTENTION")
CurveType = io.Custom("CURVE")  # the output of ComfyUI's Curve Editor
InstantIDType = io.Custom("INSTANTID")
FaceAnalysisType = io.Custom("FACEANALYSIS")  # an insightface FaceAnalysis, by InstantID's and PuLID's name of it
FaceEmbedsType = io.Custom("FACE_EMBEDS")
OptionsType = io.Custom("OPTIONS")  # of Pulid Flux Options
BoxesType = io.Custom("BOUNDING_BOX")  # of other detectors

FIRST_WEIGHT_TYPES = (*FIRST_TYPES, *(name for name in WEIGHT_TYPES if name not in FIRST_TYPES))
SIMPLE_WEIGHT_TYPES = ("standard", "prompt is more important", "style transfer")
COMBINE_ON_APPLY = tuple(name for name in COMBINE if name not in ("max", "min"))


class Options(list[str]):
    """The list of options in the position of a combo's type, where programs that read `INPUT_TYPES` expect it.

    `!= "COMBO"` is False, because ComfyUI compares in this way before it connects a combo's output. `== "COMBO"` is
    False too: otherwise ComfyUI would not find the options of a list that another pack copied into a node of its own.
    """

    def __ne__(self, other: object) -> bool:
        return other != io.Combo.io_type and super().__ne__(other)

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(io.Combo.io_type)


class Choice(io.Combo.Input):
    """An option of a list."""

    def get_io_type(self) -> Options:
        return Options(map(str, self.options))


def limits_of(item: io.Int.Input | io.Float.Input) -> tuple[float, float]:
    """The least and the largest value of a number's input; infinite where its schema has none."""
    return -math.inf if item.min is None else item.min, math.inf if item.max is None else item.max


# Sockets


def model() -> io.Input:
    tip = "Diffusion model (SD1.5, SDXL, Kolors, Flux or SD3.5) that gets the image prompt."
    return io.Model.Input("model", tooltip=tip)


def ipadapter(id: str = "ipadapter", optional: bool = False, tooltip: str | None = None) -> io.Input:
    tip = tooltip or "Adapter from an IPAdapter loader. A unified loader also brings the encoder that fits."
    return IPAdapterType.Input(id, optional=optional, tooltip=tip)


def image(id: str = "image", tooltip: str | None = None, optional: bool = False) -> io.Input:
    tip = tooltip or "Reference picture or batch of pictures. Anything but a square loses its sides when it is encoded."
    return io.Image.Input(id, optional=optional, tooltip=tip)


def image_negative() -> io.Input:
    return io.Image.Input(
        "image_negative", optional=True, tooltip="What the picture should not look like: a noisy or unwanted reference."
    )


def attn_mask(id: str = "attn_mask") -> io.Input:
    tip = "White where the reference acts, black where it does not. Best in the latent's aspect ratio."
    return io.Mask.Input(id, optional=True, tooltip=tip)


def clip_vision(optional: bool = True) -> io.Input:
    tip = "Vision encoder that the adapter was trained with. Not needed when a unified loader brought one."
    return io.ClipVision.Input("clip_vision", optional=optional, tooltip=tip)


def face_models(id: str, tooltip: str, *, optional: bool = False) -> io.Input:
    """A face pack from any loader, or from a unified loader's ipadapter output."""
    return io.MultiType.Input(
        id, types=[FaceAnalysisType, InsightFaceType, IPAdapterType], optional=optional, tooltip=tooltip
    )


def insightface(optional: bool = True) -> io.Input:
    tip = "Face detector for FaceID adapters. Not needed when a unified loader brought one."
    return InsightFaceType.Input("insightface", optional=optional, tooltip=tip)


def embeds(id: str = "embeds", tooltip: str | None = None, optional: bool = False) -> io.Input:
    return EmbedsType.Input(id, optional=optional, tooltip=tooltip or "Encoded pictures from an IPAdapter Encoder.")


def params(id: str = "ipadapter_params", optional: bool = False) -> io.Input:
    tip = "Regions from IPAdapter Regional Conditioning, one adapter application each."
    return ParamsType.Input(id, optional=optional, tooltip=tip)


def optional_images(*, faces: bool = False) -> list[io.Input]:
    """The sockets that close most apply nodes: negative image, mask, encoder and, for faces, the detector."""
    return [image_negative(), attn_mask(), clip_vision(), *([insightface()] if faces else [])]


# Strength


def weight(
    id: str = "weight",
    *,
    maximum: float = 3,
    minimum: float = -1,
    default: float = 1.0,
    step: float = 0.05,
    tooltip: str | None = None,
) -> io.Input:
    tip = tooltip or "How strongly the reference acts: 0 is off, 0.8 lets the text act too, below 0 pushes away."
    return io.Float.Input(id, default=default, min=minimum, max=maximum, step=step, tooltip=tip)


def weight_faceidv2() -> io.Input:
    tip = "FaceID Plus V2 only: how much of the face's CLIP features is used beside its identity."
    return weight("weight_faceidv2", maximum=5, tooltip=tip)


def weight_kolors() -> io.Input:
    return weight("weight_kolors", maximum=5, tooltip="Kolors FaceID only: scale of the face tokens' own projection.")


def style_boost() -> io.Input:
    tip = "Strength of pushing the reference's composition away, so that only its style stays."
    return weight("style_boost", minimum=-5, maximum=5, tooltip=tip)


def composition_boost() -> io.Input:
    tip = "Strength of pushing the reference's style away, so that only its composition stays."
    return weight("composition_boost", minimum=-5, maximum=5, default=0.0, tooltip=tip)


def weight_type(options: Sequence[str] = WEIGHT_TYPES) -> io.Input:
    tip = "Which layers the reference reaches and how strongly: all alike, eased, only style, only composition."
    return Choice("weight_type", options=list(options), tooltip=tip)


def layer_weights() -> io.Input:
    tip = "Layer:factor pairs, 3:1.0, 6:0.5 say (SDXL 0-10, SD1.5 0-15, Flux 0-56). Other layers stay as they are."
    return io.String.Input("layer_weights", default="", multiline=True, tooltip=tip)


def start_at(id: str = "start_at", default: float = 0.0, optional: bool = False) -> io.Input:
    tip = "Part of the sampling at which the reference starts to act: 0 is the beginning, 1 the end."
    return io.Float.Input(id, default=default, min=0.0, max=1.0, step=0.001, optional=optional, tooltip=tip)


def end_at(tooltip: str | None = None, optional: bool = False) -> io.Input:
    tip = tooltip or "Part of the sampling at which the reference stops acting: 0 is the beginning, 1 the end."
    return io.Float.Input("end_at", default=1.0, min=0.0, max=1.0, step=0.001, optional=optional, tooltip=tip)


def active_range() -> list[io.Input]:
    return [start_at(), end_at()]


def noise() -> io.Input:
    tip = "The reference is contrasted with a noised copy of itself: 0 is off, and a small value means much noise."
    return io.Float.Input("noise", default=0.0, min=0.0, max=1.0, step=0.01, tooltip=tip)


def unfold_batch() -> io.Input:
    tip = "On: the first reference acts on the first latent of the batch, and so on. Off: all act on every latent."
    return io.Boolean.Input("unfold_batch", default=False, tooltip=tip)


def schedule() -> io.Input:
    tip = "Weights over layers and sampling steps from an IPAdapter Weight Schedule; they multiply the node's own."
    return ScheduleType.Input("schedule", optional=True, tooltip=tip)


# How references are encoded and joined


def combine_embeds(default: str | None = None) -> io.Input:
    tip = "How several references become one prompt: concat shows all of them, the others mix them into one."
    options = list(COMBINE_ON_APPLY)
    return Choice("combine_embeds", options=options, default=default, tooltip=tip)  # pyright: ignore[reportArgumentType] - the host takes None


def embeds_scaling() -> io.Input:
    tip = "Where the weight acts. V only is the plain one; the versions with C penalty stay calm at high weights."
    return Choice("embeds_scaling", options=list(SCALINGS), tooltip=tip)


def encode_batch_size() -> io.Input:
    tip = "How many pictures are encoded at once: 0 for all. A small number saves memory with long batches."
    return io.Int.Input("encode_batch_size", default=0, min=0, max=4096, tooltip=tip)


def expand_style() -> io.Input:
    tip = "Style reaches every layer but the composition layer, instead of the style layer alone."
    return io.Boolean.Input("expand_style", default=False, tooltip=tip)


def enhance_tiles() -> io.Input:
    tip = "The reference is also encoded in this many rows and columns of tiles, for finer detail. 1: only as a whole."
    return io.Int.Input("enhance_tiles", default=2, min=1, max=16, tooltip=tip)


def enhance_ratio(default: float = 1.0) -> io.Input:
    tip = "Share of the whole picture against its tiles: 1 is the whole picture, 0 the tiles."
    return io.Float.Input("enhance_ratio", default=default, min=0.0, max=1.0, step=0.05, tooltip=tip)


def sharpening(number: type[io.Float.Input] = io.Float.Input) -> io.Float.Input:
    tip = "Contrast-adaptive sharpening after resizing, so that fine detail reaches the encoder."
    return number("sharpening", default=0.0, min=0.0, max=1.0, step=0.05, tooltip=tip)


# Outputs


def model_output(name: str = "MODEL") -> io.Output:
    return io.Model.Output(display_name=name, tooltip="The model with the image prompt. What came in is unchanged.")


def face_image_output() -> io.Output:
    return io.Image.Output(display_name="face_image", tooltip="The aligned faces that were found in the references.")


def tile_outputs() -> list[io.Output]:
    return [
        io.Image.Output(display_name="tiles", tooltip="The tiles the reference was cut into."),
        io.Mask.Output(display_name="masks", tooltip="Where in the picture each tile acts."),
    ]

"""The inputs and outputs that InstantID's nodes share, and the requests that are made from them."""

from collections.abc import Sequence

from comfy_api.latest import io
from torch import Tensor

from ..encoders.faces import FaceChoice
from ..masks.compose import canvas_size
from ..weight_schedules.layers import WEIGHT_TYPES
from . import inputs
from .applying.encoding import Reference
from .applying.face_drawing import WHOLE
from .applying.instantid import FaceControlRequest
from .face import face_choice, least_score
from .face_keypoints import canvas_input, face_models_input, place_input
from .sockets import Canvas

CATEGORY = "InstantID"
COMBINE = ("average", "norm average", "concat")
MASKS = {"text and face": True, "face": False}  # what a mask limits -> whether the positive text is limited
TERMS = ["instantid", "instant id", "same person", "face reference", "identity", "portrait"]


def identity_inputs(*, control: bool) -> list[io.Input]:
    """The sockets that Apply nodes begin with."""
    file_tip = "InstantID's adapter, from Load InstantID Model or a unified loader."
    net_tip = "InstantID's ControlNet, from ComfyUI's Load ControlNet Model."
    return [
        io.MultiType.Input("instantid", types=[inputs.InstantIDType, inputs.IPAdapterType], tooltip=file_tip),
        face_models_input(),
        *([io.ControlNet.Input("control_net", tooltip=net_tip)] if control else []),
        inputs.image(
            tooltip="Photo of the person, or a batch of photos of the same person. Those without a face are left out."
        ),
        io.Model.Input("model", tooltip="SDXL model that follows the face."),
    ]


def texts() -> list[io.Input]:
    return [
        io.Conditioning.Input("positive", tooltip="Text of the picture."),
        io.Conditioning.Input("negative", tooltip="Text of what the picture should not show."),
    ]


def image_kps(optional: bool) -> io.Input:
    photo = (
        "Photo whose largest face gives eyes, nose and mouth their position, or a drawing of them. Without it: image."
    )
    drawing = "Drawing of eyes, nose and mouth, from IPAdapter Face Keypoints."
    return io.Image.Input("image_kps", optional=optional, tooltip=photo if optional else drawing)


def mask_input() -> io.Input:
    return io.Mask.Input(
        "mask", optional=True, tooltip="White where the person is. Masks of several persons cover the canvas."
    )


def noise_input() -> io.Input:
    tip = "Noise in place of no face on the negative side: 0.35 takes colours that are too strong back."
    return io.Float.Input("noise", default=0.0, min=0.0, max=1.0, step=0.1, tooltip=tip)


def layer_inputs() -> list[io.Input]:
    """What every image prompt has: weights of layers and of steps. They act on the cross-attentions alone."""
    type_tip = "Which layers of the model the face reaches. The ControlNet acts as it is."
    text_tip = "Layer:factor pairs in place of the weight type, 0-3:1, 5-10:1 say (0-10). Other layers get no face."
    return [
        inputs.Choice("weight_type", options=list(WEIGHT_TYPES), optional=True, advanced=True, tooltip=type_tip),
        io.String.Input("layer_weights", default="", optional=True, advanced=True, tooltip=text_tip),
        inputs.schedule(),
    ]


def faces_of_image() -> list[io.Input]:
    order, index, _ = face_choice("largest", choice=inputs.Choice, whole=io.Int.Input)
    return [order, index, least_score(io.Float.Input)]


def mask_limits() -> io.Input:
    tip = "What a mask limits: the whole positive text with the face, or the face alone, so that persons share a text."
    return inputs.Choice("mask_limits", options=list(MASKS), optional=True, advanced=True, tooltip=tip)


def pose_and_mask() -> list[io.Input]:
    """The optional inputs of both Apply nodes: pose and mask of saved graphs, then what this pack adds."""
    return [
        image_kps(optional=True),
        mask_input(),
        *layer_inputs(),
        *faces_of_image(),
        canvas_input(),
        mask_limits(),
        place_input(WHOLE),
    ]


def texts_out() -> list[io.Output]:
    tip = "with the ControlNet, which sees the face in place of the text."
    return [
        io.Conditioning.Output(display_name=name, tooltip=f"The {name} text {tip}") for name in ("positive", "negative")
    ]


def whole_schema(
    node_id: str, display_name: str, description: str, weights: Sequence[io.Input], more: Sequence[io.Input] = ()
) -> io.Schema:
    """The schema of a node with both halves: `weights` stand before the range of sampling, `more` behind it."""
    return io.Schema(
        node_id=node_id,
        display_name=display_name,
        category=CATEGORY,
        description=description,
        search_aliases=TERMS,
        inputs=[
            *identity_inputs(control=True),
            *texts(),
            *weights,
            *inputs.active_range(),
            *more,
            *pose_and_mask(),
        ],
        outputs=[inputs.model_output(), *texts_out()],
    )


def combine_input() -> io.Input:
    tip = "How several photos become one face: their mean, a mean of normed numbers, or side by side."
    return inputs.Choice("combine_embeds", options=list(COMBINE), tooltip=tip)


def reference_of(
    image: Tensor, face: str, index: int, least_score: float, combine: str = "average", noise: float = 0.0
) -> Reference:
    """The person of photos (n, h, w, c), of which those without a face are left out."""
    choice = FaceChoice(face, index, "skip the image", least_score)
    return Reference(image, combine=combine, face=choice, face_noise=noise)


def control_of(
    net: object, strength: float, image_kps: Tensor | None, canvas: Canvas | None, mask_limits: str, place: str
) -> FaceControlRequest:
    size = None if canvas is None else canvas_size(canvas)
    return FaceControlRequest(net, strength, image_kps, size, place, MASKS[mask_limits])

"""InstantID (arXiv:2401.07519): a face's tokens for the UNet's cross-attentions and for a ControlNet's."""

from collections.abc import Mapping
from dataclasses import dataclass

import node_helpers
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...encoders.face_places import Size
from ...ipadapter.errors import AdapterError
from ...ipadapter.image_prompt import NEGATIVE, POSITIVE
from ..loading.adapters import Pipeline, open_pipeline
from ..loading.face_packs import check_pack
from ..loading.instantid import FACE_PACK
from ..notices import say_notes
from ..sampling.attach import attach, sites_of
from .apply import Strength, check_range, checked_strength, image_prompt, note_black_masks, sites_for
from .control import ConditioningList, checked_control_net, with_face_control
from .encoding import Reference, encode_reference
from .face_drawing import WHOLE, Drawing, control_picture, pose_photo
from .keys_values import as_many, tokens_of_embeds

SQUEEZED = (
    "A text has an area, and ComfyUI squeezes the whole drawing of the face into it, so the face comes out in another "
    "place and shape. Give the text a mask in place of the area (Conditioning (Set Mask), default)."
)

FaceTokens = Mapping[str, Tensor]  # by branch, (pictures, t, context)


@dataclass(frozen=True)
class FaceControlRequest:
    """The settings of InstantID's ControlNet.

    `image_kps` (n, h, w, c) is a photo or a drawing of eyes, nose and mouth; None for the reference's first picture.
    """

    net: object
    strength: float
    image_kps: Tensor | None = None
    canvas: Size | None = None  # size of the drawing of a photo's points
    place: str = WHOLE  # where the points of a photo are drawn: a key of PLACES
    masks_text: bool = True  # whether a mask limits the whole positive text, or the face alone


def apply_instantid(
    model: ModelPatcher,
    instantid: object,
    insightface: object,
    conditionings: tuple[ConditioningList, ConditioningList],
    reference: Reference,
    strength: Strength,
    control: FaceControlRequest,
) -> tuple[ModelPatcher, ConditioningList, ConditioningList]:
    """A clone of a model that follows a face, and positive and negative conditionings with InstantID's ControlNet.

    Range and mask of `strength` also apply to the ControlNet. Errors are those of apply_identity and with_face_control.
    """
    checked_control_net(control.net)
    followed, tokens = apply_identity(model, instantid, insightface, reference, strength)
    photo, choice = pose_photo(insightface, reference, control.image_kps)
    drawing = Drawing(choice, control.canvas, control.place, strength.mask)
    picture = control_picture(insightface, photo, drawing)
    controlled = apply_control(conditionings, control, picture, tokens, strength)
    return followed, *controlled


def apply_control(
    conditionings: tuple[ConditioningList, ConditioningList],
    control: FaceControlRequest,
    picture: Tensor,
    tokens: FaceTokens,
    strength: Strength,
) -> tuple[ConditioningList, ConditioningList]:
    """Positive and negative conditionings with a ControlNet for a face's tokens and a drawing of its points.

    A mask limits the positive conditioning (`masks_text`), or otherwise the ControlNet's outputs.
    """
    check_range(strength.start_at, strength.end_at, "the ControlNet")
    active = (strength.start_at, strength.end_at)
    mask = strength.mask if strength.mask is None or strength.mask.ndim == 3 else strength.mask.unsqueeze(0)
    of_face = None if control.masks_text else mask
    positive, negative = with_face_control(
        conditionings, control.net, picture, side_by_side(tokens), control.strength, active, of_face
    )
    if mask is not None and control.masks_text:
        region = {"mask": mask, "set_area_to_bounds": False}
        positive = node_helpers.conditioning_set_values(positive, region)
    entries = [settings for conditioning in (positive, negative) for _, settings in conditioning]
    if any("area" in settings or settings.get("set_area_to_bounds") for settings in entries):
        say_notes([SQUEEZED])
    return positive, negative


def apply_identity(
    model: ModelPatcher, instantid: object, insightface: object, reference: Reference, strength: Strength
) -> tuple[ModelPatcher, FaceTokens]:
    """A clone of a model that follows a face, and the face's tokens for a ControlNet.

    Raises:
        AdapterError: `instantid` is another adapter.
        ModelMismatchError: the model is not of the SDXL family.
        FaceError: no face, no detector, or a face pack with another recogniser.
    """
    pipeline = identity_pipeline(instantid, insightface)
    sites = sites_for(pipeline.adapter, sites_of(model))
    strength = checked_strength(strength)
    note_black_masks([strength.mask], "mask", "the face acts nowhere", "where the person is")
    embeds = encode_reference(pipeline, reference)
    prompt = image_prompt(model, pipeline.adapter, sites, embeds, reference, strength)
    tokens = tokens_of_embeds(model, pipeline.adapter, embeds, reference)
    positive, negative = as_many(tokens.positive, tokens.negative, joins=False)
    return attach(model, [prompt]), {POSITIVE: positive, NEGATIVE: negative}


def identity_pipeline(instantid: object, insightface: object) -> Pipeline:
    """InstantID's adapter and a face pack that fits it."""
    pipeline = open_pipeline(instantid, insightface=insightface)
    config = pipeline.adapter.config
    if config.projection.kind != "face resampler":
        raise AdapterError(
            f"{pipeline.adapter.name} is a {config.variant} adapter, and this node takes InstantID's: the file "
            "ip-adapter.bin of InstantX/InstantID, in models/instantid."
        )
    if pipeline.insightface is not None:
        check_pack(pipeline.insightface, FACE_PACK, "InstantID")
    return pipeline


def side_by_side(tokens: FaceTokens) -> FaceTokens:
    """The tokens of all pictures as one row, (1, pictures * t, context)."""
    return {branch: x.flatten(0, 1).unsqueeze(0) for branch, x in tokens.items()}


def as_face_embeds(tokens: FaceTokens) -> dict[str, Tensor]:
    """The tokens as the dict of a FACE_EMBEDS socket."""
    return {"cond": tokens[POSITIVE], "uncond": tokens[NEGATIVE]}


def read_face_embeds(value: object) -> FaceTokens:
    """The tokens of a FACE_EMBEDS socket; AdapterError for any other value."""
    parts = {POSITIVE: "cond", NEGATIVE: "uncond"}
    found = {branch: value.get(part) for branch, part in parts.items()} if isinstance(value, Mapping) else {}
    tokens = {branch: x for branch, x in found.items() if isinstance(x, Tensor) and x.ndim == 3}
    if tokens.keys() != parts.keys():
        raise AdapterError("face_embeds needs the tokens of a face, from InstantID Patch Attention.")
    return tokens

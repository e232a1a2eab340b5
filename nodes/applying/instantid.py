"""InstantID (arXiv:2401.07519): a face's tokens for the UNet's cross-attentions and for a ControlNet's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import node_helpers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...encoders.face_places import PLACES
from ...encoders.faces import FaceChoice, face_notes, faces_in, select_faces
from ...encoders.keypoints import keypoint_picture
from ...ipadapter.errors import AdapterError
from ...ipadapter.image_prompt import NEGATIVE, POSITIVE
from ..loading.adapters import Pipeline, open_pipeline, part_of
from ..loading.face_packs import check_pack
from ..loading.instantid import FACE_PACK
from ..notices import say_notes
from ..sampling.attach import attach, sites_of
from .apply import Strength, check_range, checked_strength, image_prompt, note_black_masks, sites_for
from .caches import FACES
from .control import ConditioningList, check_control_net, with_face_control
from .encoding import Reference, encode_reference
from .keys_values import as_many, tokens_of_embeds

USUAL_SIDES = (768, 1536)  # least and greatest long side, in pixels, of pictures that SDXL is sampled at
WHOLE = next(iter(PLACES))  # the place "as in the photo"
LONG_SIDE = 1280  # long side, in pixels, to which InstantID's authors resize every picture
SQUEEZED = (
    "A text has an area, and ComfyUI squeezes the whole drawing of the face into it, so the face comes out in another "
    "place and shape. Give the text a mask in place of the area (Conditioning (Set Mask), default)."
)

FaceTokens = Mapping[str, Tensor]  # by branch, (pictures, t, context)
Size = tuple[int, int]  # height and width in pixels


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
    check_control_net(control.net)
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


def pose_photo(insightface: object, reference: Reference, image_kps: Tensor | None) -> tuple[Tensor, FaceChoice]:
    """The photo (1, h, w, c) whose face gives the pose, and the choice of this face.

    It is the first of `image_kps`, or without these the first of the reference's photos that has the chosen face.
    """
    if image_kps is not None:
        return image_kps[:1], FaceChoice("largest", least_score=reference.face.least_score)
    assert reference.images is not None
    found = faces_in(part_of(insightface, "insightface"), reference.images, reference.face.least_score, FACES)
    first = select_faces(found, reference.face)[1][0]
    return reference.images[first : first + 1], reference.face


@dataclass(frozen=True)
class Drawing:
    """How faces are drawn: which of a picture, and where on the canvas.

    `place`, a key of PLACES, says which part of the canvas a picture fills and which of its faces count; all but the
    first need a mask, (h, w) or (1, h, w). Without a canvas, drawings have the size of the pictures.
    """

    choice: FaceChoice
    canvas: Size | None = None
    place: str = WHOLE
    mask: Tensor | None = None
    everybody: bool = False  # whether every face is drawn, not the chosen one


def draw_faces(insightface: object, images: Tensor, drawing: Drawing) -> Tensor:
    """Drawings (n, height, width, 3) of eyes, nose and mouth in pictures (n, h, w, c).

    Raises:
        FaceError: a picture without a face, unless the choice leaves such pictures out; a mask without a face in it.
    """
    found = faces_in(part_of(insightface, "insightface"), images, drawing.choice.least_score, FACES)
    size = (images.shape[1], images.shape[2])
    canvas = drawing.canvas or size
    placed = [PLACES[drawing.place](faces, size, canvas, drawing.mask) for faces in found]
    chosen, kept = select_faces([each.faces for each in placed], drawing.choice)
    say_notes(face_notes(chosen))
    drawings = []
    for number in kept:
        faces = placed[number].faces if drawing.everybody else chosen[number].unsqueeze(0)
        drawings.append(keypoint_picture(faces, size, canvas, placed[number].box))
    return torch.stack(drawings)


def control_picture(insightface: object, photo: Tensor, drawing: Drawing) -> Tensor:
    """The picture for the ControlNet (1, height, width, c): the face of a photo (1, h, w, c) drawn on a canvas.

    A picture without a face is treated as a drawing and returned unchanged. Without a canvas, a photo in a size that
    SDXL is not sampled at is drawn with a long side of 1280 pixels, because the widths of lines are in pixels. A photo
    that is placed in a mask is drawn in the mask's proportions.
    """
    faces_of_photos = faces_in(part_of(insightface, "insightface"), photo, drawing.choice.least_score, FACES)
    if not any(map(len, faces_of_photos)):
        say_notes(["image_kps shows no face, so it is used as it is: as a drawing of eyes, nose and mouth."])
        return photo
    frame = photo.shape[1:3] if drawing.mask is None or drawing.place == WHOLE else drawing.mask.shape[-2:]
    canvas = drawing.canvas or usual_canvas((frame[0], frame[1]))
    return draw_faces(insightface, photo, replace(drawing, canvas=canvas))


def usual_canvas(size: Size) -> Size:
    """A size (height, width) that SDXL is sampled at, with the aspect ratio of a picture."""
    longest = max(size)
    if USUAL_SIDES[0] <= longest <= USUAL_SIDES[1]:
        return size
    height, width = (max(8, round(side * LONG_SIDE / longest)) for side in size)
    return height, width

"""Draw the faces of photos for InstantID's ControlNet: which photo gives the pose, and in which size it is drawn."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...encoders.face_places import PLACES, Size
from ...encoders.faces import FaceChoice, face_notes, faces_in, select_faces
from ...encoders.keypoints import keypoint_picture
from ..loading.adapters import part_of
from ..notices import say_notes
from .caches import FACES
from .encoding import Reference

USUAL_SIDES = (768, 1536)  # least and greatest long side, in pixels, of pictures that SDXL is sampled at
WHOLE = next(iter(PLACES))  # the place "as in the photo"
LONG_SIDE = 1280  # long side, in pixels, to which InstantID's authors resize every picture


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


def usual_canvas(size: Size) -> Size:
    """A size (height, width) that SDXL is sampled at, with the aspect ratio of a picture."""
    longest = max(size)
    if USUAL_SIDES[0] <= longest <= USUAL_SIDES[1]:
        return size
    height, width = (max(8, round(side * LONG_SIDE / longest)) for side in size)
    return height, width

"""Where the points of a photo's faces are drawn on a canvas: as in the photo, or by a mask."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..ipadapter.errors import FaceError
from .faces import points_of
from .keypoints import Box, to_box

Size = tuple[int, int]  # height and width in pixels
WHITE = 0.5  # least value of a mask that counts as white


@dataclass(frozen=True)
class Placed:
    """The detections (n, 16) of a picture that may be drawn, and the part of the canvas that the picture fills."""

    faces: Tensor
    box: Box


def as_in_the_photo(faces: Tensor, size: Size, canvas: Size, mask: Tensor | None) -> Placed:
    """All faces; the picture fills the canvas."""
    return Placed(faces, (0, 0, *canvas))


def the_face_in_the_mask(faces: Tensor, size: Size, canvas: Size, mask: Tensor | None) -> Placed:
    """The faces of a group whose middle lies on white; the picture fills the canvas. FaceError if all lie on black."""
    white, whole = _white(mask), (0, 0, *canvas)
    inside = []
    for number, face in enumerate(faces):
        x, y = to_box(points_of(face), size, whole).mean(axis=0)
        row, column = (int(np.floor(at * n / side)) for at, n, side in zip((y, x), white.shape, canvas, strict=True))
        if 0 <= row < white.shape[0] and 0 <= column < white.shape[1] and white[row, column]:
            inside.append(number)
    if len(faces) and not inside:
        raise FaceError(
            f"The photo has {len(faces)} faces, and none of them lies in the white part of the mask. Paint the mask "
            "over a face, or choose another place."
        )
    return Placed(faces[inside], whole)


def the_photo_in_the_mask(faces: Tensor, size: Size, canvas: Size, mask: Tensor | None) -> Placed:
    """All faces; the picture fills the box around the white part of the mask."""
    white = _white(mask)
    (top, height), (left, width) = (
        _span(white.any(dim=1 - axis), canvas[axis]) for axis in (0, 1)
    )  # fmt: skip
    return Placed(faces, (top, left, height, width))


PLACES: dict[str, Callable[[Tensor, Size, Size, Tensor | None], Placed]] = {
    "as in the photo": as_in_the_photo,
    "the face in the mask": the_face_in_the_mask,
    "the photo in the mask": the_photo_in_the_mask,
}


def _white(mask: Tensor | None) -> Tensor:
    """The white part (h, w) of a mask (h, w) or (1, h, w) as booleans; FaceError without one."""
    if mask is None:
        raise FaceError("place says where in the mask a face is drawn: connect a mask, or choose 'as in the photo'.")
    first = mask if mask.ndim == 2 else mask[0]
    white = first >= WHITE
    if not white.any():
        raise FaceError("The mask is black, so no face can be drawn in it. Paint white where the face should be.")
    return white


def _span(white: Tensor, side: int) -> tuple[int, int]:
    """The start and the length, in pixels of a side of the canvas, from the first to the last white row or column."""
    where = torch.nonzero(white).flatten()
    start, end = (round(int(edge) * side / len(white)) for edge in (where[0], where[-1] + 1))
    return start, max(1, end - start)

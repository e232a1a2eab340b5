"""Turn the bounding boxes of any detector into face detections."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ipadapter.errors import FaceError

LARGEST_BOX = 2**15  # pixels: limit for a box's distance from the picture's corner and for its sides


def faces_from_boxes(boxes: Any, images: int) -> list[Tensor]:
    """Detections (faces, 16) of every image, with NaN as their five points, from the boxes of any detector.

    A box is a mapping with x, y, width and height in pixels, and optionally score (default 1). `boxes` is a single box,
    a list of boxes of one image, or such a list for every image; `images` is the number of images.

    Raises:
        FaceError: the number of lists is not `images`, or a number of a box is missing or outside the limits.
    """
    if not isinstance(boxes, Mapping | Sequence) or isinstance(boxes, str):
        raise FaceError(f"bboxes needs boxes from a detector, and got a {type(boxes).__name__}.")
    frames: list[Any] = [[boxes]] if isinstance(boxes, Mapping) else list(boxes)
    if frames and isinstance(frames[0], Mapping):
        frames = [frames]
    if len(frames) != images:
        raise FaceError(
            f"The boxes are of {len(frames)} images and {images} images came in: connect those it looked at."
        )
    found = []
    for frame in frames:
        if not isinstance(frame, Sequence):
            raise FaceError(f"bboxes needs a list of boxes for every image, and one is a {type(frame).__name__}.")
        corners = torch.tensor([_corners(box) for box in frame], dtype=torch.float32).reshape(-1, 5)
        no_points = torch.full((len(corners), 10), torch.nan)
        found.append(torch.cat([corners, no_points, torch.zeros(len(corners), 1)], dim=1))
    return found


def _corners(box: Any) -> list[float]:
    """Left, top, right, bottom and score of a box; FaceError if a number is missing or outside the limits."""
    try:
        x, y, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
        score = float(box.get("score", 1.0))
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise FaceError(f"A box needs x, y, width and height in pixels, and this is {box!r:.80}.") from error
    if not all(abs(number) <= LARGEST_BOX for number in (x, y, score)) or not 0 < width <= LARGEST_BOX >= height > 0:
        raise FaceError(f"No face lies in this box: x {x:g}, y {y:g}, {width:g} wide, {height:g} high.")
    return [x, y, x + width, y + height, score]

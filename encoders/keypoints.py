"""Draw a face's eyes, nose and mouth as InstantID's ControlNet was trained to see them (arXiv:2401.07519)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .face_models import import_face_module
from .faces import points_of

# Of the five points, in the detector's order: eye left in the picture, eye right, nose, mouth corner left, right. RGB.
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
NOSE = 2
LIMBS = (0, 1, 3, 4)  # points that a line joins to the nose, later lines over earlier ones
HALF_WIDTH = 4  # of a line, in pixels
BRIGHTNESS = 0.6  # of the lines
RADIUS = 10  # of a point, in pixels


def draw_keypoints(faces: Sequence[NDArray[np.floating]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The points of faces, (5, 2) as x, y each, drawn in RGB on black; `size` is height and width.

    Widths are in pixels of the drawn picture, so it is drawn in the size of the canvas. All coordinates are cut to
    whole pixels. For several faces the lines of all lie under the points of all.
    """
    cv2 = import_face_module("cv2")
    picture = np.zeros((*size, 3), np.uint8)
    for points in faces:
        for limb in LIMBS:
            cv2.fillConvexPoly(picture, limb_outline(points[limb], points[NOSE]), COLOURS[limb])
    picture = (picture * BRIGHTNESS).astype(np.uint8)
    for points in faces:
        for (x, y), colour in zip(points, COLOURS, strict=True):
            cv2.circle(picture, (int(x), int(y)), RADIUS, colour, -1)
    return picture


def limb_outline(point: NDArray[np.floating], nose: NDArray[np.floating]) -> NDArray[np.int32]:
    """The outline (n, 2) of the ellipse between a point and the nose."""
    (x, y), (nose_x, nose_y) = point.tolist(), nose.tolist()
    centre = int((x + nose_x) / 2), int((y + nose_y) / 2)
    half_axes = int(math.hypot(x - nose_x, y - nose_y) / 2), HALF_WIDTH
    angle = int(math.degrees(math.atan2(y - nose_y, x - nose_x)))
    return import_face_module("cv2").ellipse2Poly(centre, half_axes, angle, 0, 360, 1)


def keypoint_picture(faces: Tensor, size: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """Faces (n, 16) that a detector found in a picture, drawn on a canvas as (height, width, 3) in 0..1.

    `size` is the picture's height and width. Its middle fills the canvas, as ComfyUI brings a ControlNet's picture to
    the canvas. Raises FaceError for faces of a detector that gives no points.
    """
    points = [to_canvas(points_of(face), size, canvas) for face in faces]
    return torch.from_numpy(draw_keypoints(points, canvas)).float() / 255


def to_canvas(points: NDArray[np.floating], size: tuple[int, int], canvas: tuple[int, int]) -> NDArray[np.float64]:
    """Points x, y of a picture on a canvas that the middle of the picture fills; sizes are height and width."""
    scale = max(wanted / own for wanted, own in zip(canvas, size, strict=True))
    middles = [np.array([width, height]) / 2 for height, width in (size, canvas)]
    return (points - middles[0]) * scale + middles[1]

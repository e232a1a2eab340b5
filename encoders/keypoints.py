"""Draw a face's eyes, nose and mouth as in the training pictures of InstantID's ControlNet (arXiv:2401.07519)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .face_models import import_face_module
from .faces import points_of

# RGB of the five points in the detector's order: eye on the picture's left, eye on its right, nose, left and right
# mouth corner.
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
NOSE = 2
LIMBS = (0, 1, 3, 4)  # numbers of the points that a line joins to the nose; later lines cover earlier lines
HALF_WIDTH = 4  # of a line, in pixels
BRIGHTNESS = 0.6  # of the lines
RADIUS = 10  # of a point, in pixels
Box = tuple[int, int, int, int]  # top, left, height, width of a part of the canvas, in pixels


def draw_keypoints(faces: Sequence[NDArray[np.floating]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw the points (5, 2) of faces, x, y in pixels, in RGB on black: (height, width, 3); `size` is (height, width).

    Lines and points have fixed widths in pixels, so draw in the size of the canvas and do not resize the result.
    Coordinates are truncated to whole pixels. The points of all faces are drawn over the lines of all faces.
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
    """The outline (n, 2), x, y in whole pixels, of the thin ellipse from a point (2,) to the nose (2,)."""
    (x, y), (nose_x, nose_y) = point.tolist(), nose.tolist()
    centre = int((x + nose_x) / 2), int((y + nose_y) / 2)
    half_axes = int(math.hypot(x - nose_x, y - nose_y) / 2), HALF_WIDTH
    angle = int(math.degrees(math.atan2(y - nose_y, x - nose_x)))
    return import_face_module("cv2").ellipse2Poly(centre, half_axes, angle, 0, 360, 1)


def keypoint_picture(faces: Tensor, size: tuple[int, int], canvas: tuple[int, int], box: Box | None = None) -> Tensor:
    """Draw the detections (n, 16) of a picture on a canvas: (height, width, 3) in 0..1.

    `size` and `canvas` are (height, width) of the picture and the canvas. The picture's middle fills the box, without a
    box the canvas, as when ComfyUI resizes a ControlNet's picture.

    Raises:
        FaceError: the detections have no points.
    """
    points = [to_box(points_of(face), size, box or (0, 0, *canvas)) for face in faces]
    return torch.from_numpy(draw_keypoints(points, canvas)).float() / 255


def to_box(points: NDArray[np.floating], size: tuple[int, int], box: Box) -> NDArray[np.float64]:
    """Map points x, y (n, 2) of a picture of `size` (height, width) to a box of a canvas that its middle fills."""
    top, left, *wanted = box
    scale = max(side / own for side, own in zip(wanted, size, strict=True))
    middles = [np.array([width, height]) / 2 for height, width in (size, wanted)]
    return (points - middles[0]) * scale + middles[1] + np.array([left, top])

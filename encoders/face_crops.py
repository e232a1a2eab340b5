"""Cut a face out of a picture: aligned by its five key points, or the square around its box."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from ..ipadapter.errors import FaceError
from .face_models import import_face_module
from .pictures import crop_to_square, resize, sharpen

DETECTOR_SIZE = 640
MOST_PICTURES = 4  # limit for half a crop's side, in sides of its picture: the whole picture with most padding is 2.5

# x, y in pixels of eyes, nose and mouth corners in ArcFace's 112 x 112 training crops (arXiv:1801.07698).
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

# The same points in FFHQ's 512 x 512 crops, by facexlib's template, and facexlib's colour (RGB) outside the picture.
FFHQ_POINTS = np.array(
    [
        [192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)  # fmt: skip
FFHQ_SIZE, FFHQ_BORDER = 512, (132, 133, 135)


def template_points(size: int, padding: float = 0.0) -> NDArray[np.float64]:
    """Pixels x, y (5, 2) of the five points in a square crop; `padding` is a margin on every side, in crop sides.

    For a multiple of 112 ArcFace's points are scaled by size / 112. For other sizes they are shifted 8 pixels to the
    right and scaled by size / 128, as insightface does (face_align.estimate_norm).
    """
    points = ARCFACE_POINTS * (size / 112) if size % 112 == 0 else (ARCFACE_POINTS + [8, 0]) * (size / 128)
    return (points - size / 2) / (1 + 2 * padding) + size / 2


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The matrix (2, 3) of the least-squares rotation, scale and shift from points (n, 2) to other points (n, 2).

    With points as complex numbers: w = a z + b, where a = sum(conj(z') w') / sum(|z'|^2) over centred points z', w'
    (Umeyama 1991, in two dimensions and without reflection).
    """
    z, w = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    centred = z - z.mean()
    a = (centred.conj() * (w - w.mean())).sum() / (centred.conj() * centred).real.sum()
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def aligned_crop(
    picture: NDArray[np.uint8], points: NDArray[np.floating], size: int, padding: float = 0.0
) -> NDArray[np.uint8]:
    """The face of a picture (h, w, 3) rotated upright and scaled to a crop (size, size, 3), black outside the picture.

    `points` (5, 2) are x, y in pixels of the picture; `padding` is the margin of `template_points`.
    """
    matrix = similarity(points, template_points(size, padding))
    return import_face_module("cv2").warpAffine(picture, matrix, (size, size), borderValue=0.0)


def ffhq_crop(
    picture: NDArray[np.uint8],
    points: NDArray[np.floating],
    size: int = FFHQ_SIZE,
    border: Sequence[float] = FFHQ_BORDER,
) -> NDArray[np.uint8]:
    """The head with its hair, rotated upright and scaled to a crop (size, size, 3) as in FFHQ.

    `points` (5, 2) are x, y in pixels of the picture (h, w, 3); `border` is the colour outside the picture, 0..255.
    """
    matrix = similarity(points, FFHQ_POINTS * (size / FFHQ_SIZE))
    return import_face_module("cv2").warpAffine(picture, matrix, (size, size), borderValue=tuple(border))


def box_crop(
    picture: NDArray[np.uint8], box: NDArray[np.floating], size: int, padding: float = 0.0
) -> NDArray[np.uint8]:
    """The square around a box (left, top, right, bottom), scaled to a crop (size, size, 3), black outside the picture.

    The box is in pixels of the picture (h, w, 3); `padding` is a margin on every side, in sides of the square.

    Raises:
        FaceError: the box lies outside the picture, or is too large for it.
    """
    left, top, right, bottom = (float(edge) for edge in box)
    half = max(right - left, bottom - top) / 2 * (1 + 2 * padding)
    height, width = picture.shape[:2]
    outside = min(right, width) <= max(left, 0) or min(bottom, height) <= max(top, 0)
    if outside or half > MOST_PICTURES * max(height, width):
        raise FaceError(
            f"The box {left:g}, {top:g} to {right:g}, {bottom:g} is no face's in a picture of {width} x {height}: "
            "boxes and picture belong to one image of one size."
        )
    x, y = (left + right) / 2, (top + bottom) / 2
    square = Image.fromarray(picture).crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return np.array(square.resize((size, size), Image.Resampling.BICUBIC))


def prepare_for_detector(images: Tensor, position: str, sharpening: float = 0.0, margin: float = 0.0) -> Tensor:
    """Square crops (n, 640, 640, c), the detector's size, of pictures (n, h, w, c) in 0..1.

    `position` is a key of pictures.SQUARES, `margin` a black border on every side in sides of the crop, `sharpening`
    the amount (0 to 1) of contrast-adaptive sharpening.
    """
    square = crop_to_square(images, position)
    edge = round(square.shape[1] * margin)
    square = resize(pad(square, (0, 0, edge, edge, edge, edge)), DETECTOR_SIZE, DETECTOR_SIZE)
    return sharpen(square, sharpening) if sharpening > 0 else square

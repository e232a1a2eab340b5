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
MOST_PICTURES = 4  # half a crop's side in sides of its picture: a whole picture with the widest margin is 2.5

# Eyes, nose and mouth corners of ArcFace's 112 x 112 training crops (arXiv:1801.07698).
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

# The same points in the 512 x 512 crops of FFHQ, as facexlib cuts faces out, and the colour (RGB) outside the picture.
FFHQ_POINTS = np.array(
    [
        [192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)  # fmt: skip
FFHQ_SIZE, FFHQ_BORDER = 512, (132, 133, 135)


def template_points(size: int, padding: float = 0.0) -> NDArray[np.float64]:
    """Where the five points lie in a square crop, (5, 2) as x, y; `padding` is a margin on every side, in crops.

    Sizes that are whole 112s scale the training crop; others put it into 128 columns, shifted by 8, as insightface
    does.
    """
    points = ARCFACE_POINTS * (size / 112) if size % 112 == 0 else (ARCFACE_POINTS + [8, 0]) * (size / 128)
    return (points - size / 2) / (1 + 2 * padding) + size / 2


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The least-squares turn, scale and shift from one set of points to another, (2, 3).

    In the complex plane it is w = a z + b with a = sum(conj(z') w') / sum(|z'|^2) over centred points
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
    """The face turned upright and scaled to a square of `size` pixels, (h, w, 3), black outside the picture."""
    matrix = similarity(points, template_points(size, padding))
    return import_face_module("cv2").warpAffine(picture, matrix, (size, size), borderValue=0.0)


def ffhq_crop(
    picture: NDArray[np.uint8],
    points: NDArray[np.floating],
    size: int = FFHQ_SIZE,
    border: Sequence[float] = FFHQ_BORDER,
) -> NDArray[np.uint8]:
    """The head with its hair turned upright and scaled to a square of `size` pixels, (h, w, 3), as in FFHQ."""
    matrix = similarity(points, FFHQ_POINTS * (size / FFHQ_SIZE))
    return import_face_module("cv2").warpAffine(picture, matrix, (size, size), borderValue=tuple(border))


def box_crop(
    picture: NDArray[np.uint8], box: NDArray[np.floating], size: int, padding: float = 0.0
) -> NDArray[np.uint8]:
    """The square around a box (left, top, right, bottom) scaled to `size` pixels, black outside the picture.

    `padding` is the margin added on every side, in sides of the square.
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
    """Squares of the detector's size (n, 640, 640, c), cut out at a place, with a black margin in sides of the cut."""
    square = crop_to_square(images, position)
    edge = round(square.shape[1] * margin)
    square = resize(pad(square, (0, 0, edge, edge, edge, edge)), DETECTOR_SIZE, DETECTOR_SIZE)
    return sharpen(square, sharpening) if sharpening > 0 else square

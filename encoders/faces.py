"""Detect faces with insightface, and turn each into the input of FaceID adapters: a vector of 512 and a crop."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..ipadapter.cache import ContentCache, image_keys, serial
from ..ipadapter.errors import FaceError
from .face_crops import aligned_crop, box_crop, ffhq_crop

DETECTION_SIZES = (640, 576, 512, 448, 384, 320, 256)  # pixels; smaller sizes detect a face that fills the picture

LONGEST_STRIP = 100  # sides of pictures that may have a face: detectors shrink longer strips to a width of no pixels
LOW_SCORE = 0.7  # YuNet's scores: 0.52 to 0.67 for cups, moons and wheels, 0.87 and more for faces in photos

# A detection is a row of 16 numbers: left, top, right, bottom, score, x, y of five points, and the detection size in
# pixels if it is smaller than the first of DETECTION_SIZES, else 0. An order maps detections (faces, 16) to sort keys.
FACE_ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "highest score": lambda found: -found[:, 4],
    "largest": lambda found: -(found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]),
    "left-most": lambda found: found[:, 0] + found[:, 2],
    "right-most": lambda found: -(found[:, 0] + found[:, 2]),
    "top-most": lambda found: found[:, 1] + found[:, 3],
    "bottom-most": lambda found: -(found[:, 1] + found[:, 3]),
}
MORE_ORDERS: dict[str, Callable[[Tensor], Tensor]] = {  # orders of other packs' nodes, by their names there
    "left-right": FACE_ORDERS["left-most"],
    "right-left": FACE_ORDERS["right-most"],
    "top-bottom": FACE_ORDERS["top-most"],
    "bottom-top": FACE_ORDERS["bottom-most"],
    "small-large": lambda found: (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]),
    "large-small": FACE_ORDERS["largest"],
}
CROPS: dict[str, Callable[..., NDArray[np.uint8]]] = {
    "aligned": lambda picture, face, size, padding: aligned_crop(picture, points_of(face), size, padding),
    "box": lambda picture, face, size, padding: box_crop(picture, face[:4].numpy(), size, padding),
    "head": lambda picture, face, size, padding: ffhq_crop(picture, points_of(face), size),
    "head mask": lambda picture, face, size, padding: ffhq_crop(picture, points_of(face), size, border=(0, 0, 0)),
    "aligned mask": lambda picture, face, size, padding: aligned_crop(picture, points_of(face), size, padding),
}


@dataclass(frozen=True)
class FaceChoice:
    """Which face of a picture to use (number `index` in an `order`), and what to do with pictures without faces."""

    order: str = "highest score"
    index: int = 0
    missing: str = "error"
    least_score: float = 0.0  # 0 to 1: detections with a lower score are ignored


@dataclass(frozen=True)
class Faces:
    """A face per row: embeds (n, width), crops (n, size, size, 3) in 0..1, and the number of its image in `kept`.

    `found` are the detections (n, 16) of these faces. `notes` are the warnings of `face_notes`.
    """

    embeds: Tensor
    crops: Tensor
    kept: tuple[int, ...]
    found: Tensor
    notes: tuple[str, ...] = ()


def _error_for_missing(has_face: Sequence[bool], what: str) -> list[int]:
    missing = [number for number, found in enumerate(has_face) if not found]
    if missing:
        skip = ", or let images be skipped" if any(has_face) else ""
        raise FaceError(
            f"No {what} found in image {', '.join(str(number + 1) for number in missing)} of {len(has_face)}, at any "
            f"detection size from {DETECTION_SIZES[0]} to {DETECTION_SIZES[-1]}. Use a picture where the face is "
            f"larger or turned to the camera, leave a margin around a face that fills it{skip}."
        )
    return list(range(len(has_face)))


def _only_faces(has_face: Sequence[bool], what: str) -> list[int]:
    return [number for number, found in enumerate(has_face) if found]


def _nearest_face(has_face: Sequence[bool], what: str) -> list[int]:
    present = _only_faces(has_face, what)
    return [min(present, key=lambda number: (abs(number - wanted), number)) for wanted in range(len(has_face))]


# (whether each image has a face, word for it in messages) -> number of the image that each result row comes from.
MISSING: dict[str, Callable[[Sequence[bool], str], list[int]]] = {
    "error": _error_for_missing,
    "skip the image": _only_faces,
    "use the neighbour's": _nearest_face,
}


def face_features(
    analysis: Any,
    images: Tensor,
    crop_size: int,
    *,
    normed: bool = True,
    choice: FaceChoice | None = None,
    crop: str = "aligned",
    cache: ContentCache | None = None,
) -> Faces:
    """Embeds and crops of a face per image, from an insightface FaceAnalysis, whose settings are not changed.

    `images` are (n, h, w, 1, 3 or 4) in 0..1, `crop_size` is in pixels, `crop` a key of CROPS. `normed` embeds have
    length 1, as all FaceID adapters except portrait unnorm and Kolors need. `cache` stores detections and embeds by
    image content.

    Raises:
        FaceError: a face is missing and the choice is "error", no image has a face, or the pack has no recogniser.
    """
    wish = choice or FaceChoice()
    keys = image_keys(images)

    def embed(number: int) -> Tensor:
        face = chosen[number]
        key = ("face embeds", serial(_recogniser(analysis)), keys[number], tuple(face.tolist()))
        return _stored(cache, key, lambda: _embed(analysis, images[number], face))

    chosen, kept = select_faces(faces_in(analysis, images, wish.least_score, cache), wish)
    embeds = {number: embed(number) for number in dict.fromkeys(kept)}
    stacked = torch.stack([embeds[number] for number in kept])
    if normed:
        stacked = stacked / stacked.norm(dim=-1, keepdim=True)
    crops = crop_faces(images, chosen, kept, crop_size, crop=crop)
    found = torch.stack([chosen[number] for number in kept])
    return Faces(stacked, crops, tuple(kept), found, tuple(face_notes(chosen)))


def faces_in(analysis: Any, images: Tensor, least_score: float, cache: ContentCache | None = None) -> list[Tensor]:
    """The detections (faces, 16) by `detect` in every image (n, h, w, 1, 3 or 4), cached by image content."""

    def found(number: int, key: Hashable) -> Tensor:
        full_key = ("faces", serial(_detector(analysis)), key, least_score)
        return _stored(cache, full_key, lambda: detect(analysis, images[number], least_score))

    return [found(number, key) for number, key in enumerate(image_keys(images))]


def select_faces(found: Sequence[Tensor], choice: FaceChoice) -> tuple[dict[int, Tensor], list[int]]:
    """The chosen detection (16,) of every image with faces, by image number, and the image number of each result row.

    `found` are the detections (faces, 16) of every image.

    Raises:
        FaceError: no images, no image has a face, or a face is missing and the choice is "error".
    """
    if not found:
        raise FaceError("The batch of images is empty: there is nothing to look for a face in.")
    key = (FACE_ORDERS | MORE_ORDERS)[choice.order]
    chosen: dict[int, Tensor] = {}
    for number, faces in enumerate(found):
        faces = faces[faces[:, 4] >= choice.least_score]
        if choice.index < len(faces):
            chosen[number] = faces[key(faces).argsort(stable=True)[choice.index]]
    if not chosen:
        choice = replace(choice, missing="error")  # no image has a face, so there is no neighbour's either
    what = f"face number {choice.index + 1}" if choice.index else "face"
    if choice.least_score > 0:
        what += f" with a score of at least {choice.least_score:.2f}"
    return chosen, MISSING[choice.missing]([number in chosen for number in range(len(found))], what)


def face_notes(chosen: Mapping[int, Tensor]) -> list[str]:
    """Warnings for users about detections with a low score, or from a detection size smaller than the first.

    `chosen` are detections (16,) by the number of their image.
    """
    notes = []
    for number, face in sorted(chosen.items()):
        score, size = float(face[4]), float(face[15])
        if score >= LOW_SCORE and not size:
            continue
        width, height = (round(float(face[edge + 2] - face[edge])) for edge in (0, 1))
        smaller = f", seen only where the picture was made {size:.0f} pixels small" if size else ""
        notes.append(
            f"Image {number + 1}: is this a face? {width} x {height} pixels, score {score:.2f}{smaller}. Look at "
            "face_image; a least_score above that leaves it out."
        )
    return notes


def crop_faces(
    images: Tensor,
    chosen: dict[int, Tensor],
    kept: Sequence[int],
    size: int,
    padding: float = 0.0,
    crop: str = "aligned",
) -> Tensor:
    """Crops (n, size, size, 3) in 0..1 of the chosen detections (16,), by image number; `crop` is a key of CROPS.

    `kept` lists the image number of each result row; `padding` is a margin on every side, in sides of the crop.
    """
    cut = {
        number: CROPS[crop](as_bytes(images[number]), chosen[number], size, padding) for number in dict.fromkeys(kept)
    }
    return torch.from_numpy(np.stack([cut[number] for number in kept])).float() / 255


def detect(analysis: Any, image: Tensor, least_score: float = 0.0) -> Tensor:
    """Detections (faces, 16), best first, of an image (h, w, 1, 3 or 4) at the first detection size that has any.

    Each call passes the size to the detector, whose settings are not changed: insightface 0.7.3 ignores a second
    prepare(), and insightface 1.0 and later ignore an assigned input_size.
    """
    detector = _detector(analysis)
    if max(image.shape[:2]) > LONGEST_STRIP * min(image.shape[:2]):
        return torch.zeros(0, 16)
    sizes_to_try = _input_sizes(detector)
    picture = _bgr(image)
    for size in sizes_to_try:
        boxes, points = detector.detect(picture, input_size=size)
        points = np.full((len(boxes), 10), np.nan) if points is None else points.reshape(len(boxes), 10)
        sizes = np.full((len(boxes), 1), 0 if size == sizes_to_try[0] else size[0])
        found = torch.from_numpy(np.concatenate([boxes, points, sizes], axis=1)).float()
        if len(found := found[found[:, 4] >= least_score]):
            return found
    return torch.zeros(0, 16)


def _detector(analysis: Any) -> Any:
    detector = getattr(analysis, "det_model", None)
    if detector is None:
        found = type(analysis).__name__
        raise FaceError(f"Expected an insightface FaceAnalysis, found {found}: use the InsightFace loader.")
    return detector


def pack_name(analysis: Any) -> str:
    """A pack's name, read from the folder of its recogniser; "" if its file is unknown."""
    file = getattr(getattr(analysis, "models", {}).get("recognition"), "model_file", None)
    return Path(file).parent.name if file else ""


def as_bytes(image: Tensor) -> NDArray[np.uint8]:
    """Round an image (h, w, 1, 3 or 4) in 0..1 to 8-bit RGB (h, w, 3); alpha is dropped and NaN becomes 0."""
    colours = image[..., :3].expand(-1, -1, 3).detach().float().cpu().nan_to_num(0.0)
    return (colours * 255).clamp(0, 255).round().to(torch.uint8).numpy()


def _recogniser(analysis: Any) -> Any:
    recogniser = analysis.models.get("recognition")
    if recogniser is None:
        raise FaceError(
            f"The face pack can detect faces but not tell them apart: it has {', '.join(analysis.models)} and no "
            "recognition network. FaceID needs one: put all files of the pack into its folder "
            "(buffalo_l for the published adapters, antelopev2 for Kolors)."
        )
    return recogniser


def _embed(analysis: Any, image: Tensor, face: Tensor) -> Tensor:
    """The recogniser's embeds (512,), not normed, of a detection (16,) in an image (h, w, c)."""
    return torch.from_numpy(_recogniser(analysis).get(_bgr(image), SimpleNamespace(kps=points_of(face)))).float()


def _stored(cache: ContentCache | None, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
    return make() if cache is None else cache.get_or_make(key, make)


def _bgr(image: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(as_bytes(image)[..., ::-1])


def points_of(face: Tensor) -> NDArray[np.float32]:
    """Eyes, nose and mouth corners of a detection (16,), (5, 2) as x, y in pixels; FaceError if they are NaN."""
    if face[5:15].isnan().any():
        raise FaceError("This detector finds no eyes, nose and mouth, so faces cannot be aligned: crop by the box.")
    return face[5:15].reshape(5, 2).numpy()


def _input_sizes(detector: Any) -> list[tuple[int, int]]:
    """The input sizes (width, height) to try: the network's own if it is fixed, else DETECTION_SIZES."""
    height, width = getattr(detector, "input_shape", (1, 3, "height", "width"))[2:4]
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return [(width, height)]
    return [(size, size) for size in DETECTION_SIZES]

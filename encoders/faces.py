"""Find faces with insightface and turn them into what the FaceID adapters were trained on: 512 numbers and a crop."""

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

DETECTION_SIZES = (640, 576, 512, 448, 384, 320, 256)  # a face that fills the picture is found when made smaller

LOW_SCORE = 0.7  # of YuNet: cups, moons and wheels came to 0.52 to 0.67, faces in photos to 0.87 and more

# What a detection is, as one row: left, top, right, bottom, score, five points x, y, and the smaller detection size
# that it took to be found, 0 where it was found at the first.
FACE_ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "highest score": lambda found: -found[:, 4],
    "largest": lambda found: -(found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1]),
    "left-most": lambda found: found[:, 0] + found[:, 2],
}
MORE_ORDERS: dict[str, Callable[[Tensor], Tensor]] = {  # of other packs' nodes, by the names that they have there
    "left-right": FACE_ORDERS["left-most"],
    "right-left": lambda found: -(found[:, 0] + found[:, 2]),
    "top-bottom": lambda found: found[:, 1] + found[:, 3],
    "bottom-top": lambda found: -(found[:, 1] + found[:, 3]),
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
    """Which face of a picture is meant, and what happens to pictures that have none."""

    order: str = "highest score"
    index: int = 0
    missing: str = "error"
    least_score: float = 0.0  # of the detector, 0 to 1: a face of less is none


@dataclass(frozen=True)
class Faces:
    """One face per row: embeds (n, width), crops (n, size, size, 3) in 0..1, and the image each row was taken from.

    `found` are the detections (n, 16) of these faces.

    `notes` say which of them may be no face, or a bad one.
    """

    embeds: Tensor
    crops: Tensor
    kept: tuple[int, ...]
    found: Tensor
    notes: tuple[str, ...] = ()


def _error_for_missing(has_face: Sequence[bool], what: str) -> list[int]:
    missing = [number for number, found in enumerate(has_face) if not found]
    if missing:
        raise FaceError(
            f"No {what} found in image {', '.join(str(number + 1) for number in missing)} of {len(has_face)}, at any "
            f"detection size from {DETECTION_SIZES[0]} to {DETECTION_SIZES[-1]}. Use a picture where the face is "
            "larger or turned to the camera, leave a margin around a face that fills it, or let images be skipped."
        )
    return list(range(len(has_face)))


def _only_faces(has_face: Sequence[bool], what: str) -> list[int]:
    return [number for number, found in enumerate(has_face) if found]


def _nearest_face(has_face: Sequence[bool], what: str) -> list[int]:
    present = _only_faces(has_face, what)
    return [min(present, key=lambda number: (abs(number - wanted), number)) for wanted in range(len(has_face))]


MISSING: dict[str, Callable[[Sequence[bool], str], list[int]]] = {  # which images have one -> the image of each row
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
    """The embeds and crops of one face per image, with an insightface FaceAnalysis whose settings stay as they are.

    `images` are (n, h, w, 1, 3 or 4) in 0..1. `normed` embeds have length 1, as all FaceID adapters but portrait unnorm
    and Kolors want them. `cache` stores detections and embeds by image content.

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
    """All faces (faces, 16) of every image (n, h, w, 1, 3 or 4), as `detect` finds them, stored by image content."""

    def found(number: int, key: Hashable) -> Tensor:
        full_key = ("faces", serial(_detector(analysis)), key, least_score)
        return _stored(cache, full_key, lambda: detect(analysis, images[number], least_score))

    return [found(number, key) for number, key in enumerate(image_keys(images))]


def select_faces(found: Sequence[Tensor], choice: FaceChoice) -> tuple[dict[int, Tensor], list[int]]:
    """The chosen face (16,) of every image that has one, by image number, and the image that each result comes from.

    `found` are the detections (faces, 16) of every image.
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
        choice = replace(choice, missing="error")  # nothing to fill gaps from
    what = f"face number {choice.index + 1}" if choice.index else "face"
    if choice.least_score > 0:
        what += f" with a score of at least {choice.least_score:.2f}"
    return chosen, MISSING[choice.missing]([number in chosen for number in range(len(found))], what)


def face_notes(chosen: Mapping[int, Tensor]) -> list[str]:
    """What to look at twice: faces of a low score, and those that were found only where the picture was made smaller.

    `chosen` are faces (16,) by the number of their image.
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
    """Crops (n, size, size, 3) in 0..1 of the chosen faces; `crop` is "aligned" or "box"."""
    cut = {
        number: CROPS[crop](as_bytes(images[number]), chosen[number], size, padding) for number in dict.fromkeys(kept)
    }
    return torch.from_numpy(np.stack([cut[number] for number in kept])).float() / 255


def detect(analysis: Any, image: Tensor, least_score: float = 0.0) -> Tensor:
    """All faces of one image (h, w, 1, 3 or 4) at the first detection size that shows any; (faces, 16), best first.

    The size is handed to the detector with the call. Its settings are neither needed nor touched: insightface 0.7.3
    ignores a second prepare(), and insightface 1.0 and later ignore an assigned input_size.
    """
    detector = _detector(analysis)
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
    """The folder that a pack's recogniser lies in, which is the pack's name; empty where it is not known."""
    file = getattr(analysis.models.get("recognition"), "model_file", None)
    return Path(file).parent.name if file else ""


def as_bytes(image: Tensor) -> NDArray[np.uint8]:
    """An image (h, w, 1, 3 or 4) in 0..1 as the bytes of its file, RGB, without alpha; NaN counts as black."""
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
    """What the recogniser gives for a face (16,) of an image (h, w, c): (512,), not normed."""
    return torch.from_numpy(_recogniser(analysis).get(_bgr(image), SimpleNamespace(kps=points_of(face)))).float()


def _stored(cache: ContentCache | None, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
    return make() if cache is None else cache.get_or_make(key, make)


def _bgr(image: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(as_bytes(image)[..., ::-1])


def points_of(face: Tensor) -> NDArray[np.float32]:
    """Eyes, nose and mouth corners of a face (16,), (5, 2) as x, y; FaceError where the detector gave none."""
    if face[5:15].isnan().any():
        raise FaceError("This detector finds no eyes, nose and mouth, so faces cannot be aligned: crop by the box.")
    return face[5:15].reshape(5, 2).numpy()


def _input_sizes(detector: Any) -> list[tuple[int, int]]:
    """The sizes (width, height) to try: one only for a network with a fixed input."""
    height, width = getattr(detector, "input_shape", (1, 3, "height", "width"))[2:4]
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return [(width, height)]
    return [(size, size) for size in DETECTION_SIZES]

"""Cut a reference into tiles, each with the mask of the region where it acts.

Pictures are (n, height, width, channels), masks (m, height, width); a mask is as large as the picture that was cut.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..ipadapter.errors import AdapterError
from .pictures import center_crop, resize, resize_smoothly, sharpen, shorten

SIDE = 256
LONGEST = 4 * SIDE
NEARLY_SQUARE = (0.75, 1.33)  # height / width between which a picture is cut square

LEGACY_SIDE = 224
LEGACY_LEFTOVER = 56  # a remainder of this many pixels is worth a tile of its own


@dataclass(frozen=True)
class Tile:
    """A part of a reference and the region where it acts."""

    images: Tensor  # (n, side, side, c)
    mask: Tensor  # (m, height, width), as large as the picture that was cut


def cut_reference(images: Tensor, mask: Tensor | None = None, sharpening: float = 0.0) -> list[Tile]:
    """Tiles of 256 x 256, row by row: four of a nearly square picture, else one row or column along its long side.

    Tiles overlap where the side is no multiple of 256. The picture is resized first, and cut in the middle where it
    is longer than four times its short side.
    """
    pictures, masks = fit_reference(images, mask)
    if sharpening > 0:
        pictures = sharpen(pictures, sharpening)
    height, width = pictures.shape[1:3]
    return [
        Tile(pictures[:, y : y + SIDE, x : x + SIDE], window(masks, y, x, SIDE))
        for y in starts(height)
        for x in starts(width)
    ]


def fit_reference(images: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Picture and mask at the size that is cut: 512 x 512, or 256 by at most 1024."""
    if mask is not None:
        masks = mask.reshape(-1, *mask.shape[-2:])
        same = masks.shape[1:] == images.shape[1:3]
        mask = shorten(masks if same else resize_smoothly(masks, *images.shape[1:3]))
    images = shorten(images)
    height, width = images.shape[1:3]
    short = min(height, width)
    if NEARLY_SQUARE[0] < height / width < NEARLY_SQUARE[1]:
        part, target = (short, short), (2 * SIDE, 2 * SIDE)
    else:
        part, target = (height, width), (int(SIDE * height / short), int(SIDE * width / short))
    size = min(target[0], LONGEST), min(target[1], LONGEST)
    pictures = center_crop(resize(center_crop(images, *part), *target), *size)
    if mask is None:
        return pictures, torch.ones(1, *size)
    return pictures, center_crop(resize_smoothly(center_crop(mask, *part), *target), *size)


def starts(length: int) -> list[int]:
    """Where tiles begin that share a length evenly, overlapping where they must."""
    tiles = ceil(length / SIDE)
    step = SIDE - (tiles * SIDE - length) / (tiles - 1) if tiles > 1 else 0
    return [int(tile * step) for tile in range(tiles)]


def window(masks: Tensor, y: int, x: int, side: int, value: float = 1.0) -> Tensor:
    """Masks times `value` inside a square, 0 outside."""
    inside = torch.zeros_like(masks)
    inside[:, y : y + side, x : x + side] = value * masks[:, y : y + side, x : x + side]
    return inside


def cut_legacy(images: Tensor, short_side_tiles: int, tile_weight: float) -> list[Tile]:
    """Tiles of 224 x 224 of the first picture, so many along its short side, as the first tiled node cut them.

    Where both sides have several tiles, a coarse pass of full weight with one tile along the short side comes first;
    only then `tile_weight` is the value of the masks.
    """
    if short_side_tiles < 1:
        raise AdapterError(f"short_side_tiles is {short_side_tiles}; a reference is cut into at least one tile.")
    images = shorten(images)  # which also bounds how many tiles there are
    fine = list(legacy_pass(images[:1, ..., :3], short_side_tiles))
    several = all(len({place[axis] for place, _, _ in fine}) > 1 for axis in (0, 1))
    coarse = list(legacy_pass(images[:1, ..., :3], 1)) if several else []
    weighted = [(tile, 1.0) for tile in coarse] + [(tile, tile_weight if several else 1.0) for tile in fine]
    return [Tile(pixels, window(whole, *place, LEGACY_SIDE, value)) for (place, pixels, whole), value in weighted]


def legacy_pass(image: Tensor, short_side_tiles: int) -> Iterator[tuple[tuple[int, int], Tensor, Tensor]]:
    """Place (y, x), pixels, and a mask of ones as large as the resized picture, for each tile row by row."""
    short = short_side_tiles * LEGACY_SIDE
    scale = short / min(image.shape[1:3])
    size = [max(round(side * scale), short) for side in image.shape[1:3]]
    resized = interpolate(image.float().movedim(-1, 1), size, mode="bicubic", align_corners=False).movedim(1, -1)
    for y in legacy_starts(size[0]):
        for x in legacy_starts(size[1]):
            yield (y, x), resized[:, y : y + LEGACY_SIDE, x : x + LEGACY_SIDE].clamp(0, 1), torch.ones(1, *size)


def legacy_starts(length: int) -> list[int]:
    """Tiles side by side: a small remainder is left at both ends, a large one gets a tile that overlaps the last."""
    tiles, rest = divmod(length, LEGACY_SIDE)
    if rest >= LEGACY_LEFTOVER:
        return [*(tile * LEGACY_SIDE for tile in range(tiles)), length - LEGACY_SIDE]
    return [rest // 2 + tile * LEGACY_SIDE for tile in range(tiles)]

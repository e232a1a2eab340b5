"""Cut a reference into tiles, each with the mask of its region in the picture.

Pictures are (n, height, width, channels), masks (m, height, width); a mask has the size of the resized picture that
the tiles are cut from.
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
NEARLY_SQUARE = (0.75, 1.33)  # height / width between which a picture is cropped to a square

LEGACY_SIDE = 224
LEGACY_LEFTOVER = 56  # pixels: a remainder of this length or more gets another tile


@dataclass(frozen=True)
class Tile:
    """A part of a reference, and the mask of its region."""

    images: Tensor  # (n, side, side, c)
    mask: Tensor  # (m, height, width) of the picture that the tile is cut from


def cut_reference(images: Tensor, mask: Tensor | None = None, sharpening: float = 0.0) -> list[Tile]:
    """Cut pictures (n, h, w, c) into tiles of 256 x 256 pixels, row by row.

    A nearly square picture gives four tiles; others give a single row or column along their long side. The picture is
    resized first (`fit_reference`). Tiles overlap if the resized side is not a multiple of 256. `mask` is (h, w) or
    (m, h, w) of any size, `sharpening` 0 to 1.
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
    """Resize pictures and mask for tiles: 512 x 512 pixels, or 256 by at most 1024, cropped to their middle.

    Without a mask the result's mask is 1 everywhere, (1, height, width).
    """
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
    """First pixels of the fewest tiles that cover a length, evenly spaced, so that they overlap if necessary."""
    tiles = ceil(length / SIDE)
    step = SIDE - (tiles * SIDE - length) / (tiles - 1) if tiles > 1 else 0
    return [int(tile * step) for tile in range(tiles)]


def window(masks: Tensor, y: int, x: int, side: int, value: float = 1.0) -> Tensor:
    """Masks (m, h, w) times `value` inside the square at (y, x), 0 outside."""
    inside = torch.zeros_like(masks)
    inside[:, y : y + side, x : x + side] = value * masks[:, y : y + side, x : x + side]
    return inside


def cut_legacy(images: Tensor, short_side_tiles: int, tile_weight: float) -> list[Tile]:
    """Cut the first picture into tiles of 224 x 224 pixels, `short_side_tiles` along its short side, as the first tiled
    node did.

    If both sides have several tiles, coarse tiles with masks of 1, a single tile along the short side, come first, and
    the masks of the fine tiles are `tile_weight`. Otherwise all masks are 1.

    Raises:
        AdapterError: `short_side_tiles` is below 1.
    """
    if short_side_tiles < 1:
        raise AdapterError(f"short_side_tiles is {short_side_tiles}; a reference is cut into at least one tile.")
    images = shorten(images)  # which also limits the number of tiles
    fine = list(legacy_pass(images[:1, ..., :3], short_side_tiles))
    several = all(len({place[axis] for place, _, _ in fine}) > 1 for axis in (0, 1))
    coarse = list(legacy_pass(images[:1, ..., :3], 1)) if several else []
    weighted = [(tile, 1.0) for tile in coarse] + [(tile, tile_weight if several else 1.0) for tile in fine]
    return [Tile(pixels, window(whole, *place, LEGACY_SIDE, value)) for (place, pixels, whole), value in weighted]


def legacy_pass(image: Tensor, short_side_tiles: int) -> Iterator[tuple[tuple[int, int], Tensor, Tensor]]:
    """Yield (y, x), pixels (1, 224, 224, c), and a mask of ones for the resized picture, of each tile row by row."""
    short = short_side_tiles * LEGACY_SIDE
    scale = short / min(image.shape[1:3])
    size = [max(round(side * scale), short) for side in image.shape[1:3]]
    resized = interpolate(image.float().movedim(-1, 1), size, mode="bicubic", align_corners=False).movedim(1, -1)
    for y in legacy_starts(size[0]):
        for x in legacy_starts(size[1]):
            yield (y, x), resized[:, y : y + LEGACY_SIDE, x : x + LEGACY_SIDE].clamp(0, 1), torch.ones(1, *size)


def legacy_starts(length: int) -> list[int]:
    """First pixels of tiles side by side: a remainder below 56 pixels is split between both ends and not covered; a
    larger remainder gets another tile, which overlaps the last.
    """
    tiles, rest = divmod(length, LEGACY_SIDE)
    if rest >= LEGACY_LEFTOVER:
        return [*(tile * LEGACY_SIDE for tile in range(tiles)), length - LEGACY_SIDE]
    return [rest // 2 + tile * LEGACY_SIDE for tile in range(tiles)]

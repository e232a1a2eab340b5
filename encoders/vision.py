"""Encode images with a vision encoder that comes as a function: chunked, cached by content, masked, in tiles."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ipadapter.cache import ContentCache, content_key
from ..ipadapter.checks import check_images, check_mask
from ..ipadapter.errors import AdapterError
from .pictures import shorten

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # colour that an encoder sees as 0 (arXiv:2103.00020)


@dataclass(frozen=True)
class Features:
    """What a vision encoder says about n images."""

    pooled: Tensor  # (n, d): projected embeds of the whole image
    hidden: Tensor  # (n, t, width): the penultimate layer's tokens, the first of them the class token


Encode = Callable[[Tensor], Features]  # images (n, h, w, 3) in 0..1


def encode_images(
    encode: Encode,
    images: Tensor,
    chunk: int = 0,
    cache: ContentCache | None = None,
    encoder_key: Hashable = None,
) -> Features:
    """Features of images (n, h, w, 3 or 4), at most `chunk` encoded at once (0: all); alpha is ignored.

    An image that occurs twice is encoded once. With a cache, a chunk is kept under `encoder_key` and its images'
    content: per chunk, because the rows of a batch may differ in the last bit from rows encoded alone, and a result
    must not depend on what ran before. Raises AdapterError for what is no image.
    """
    images = check_images(images)
    keys = [content_key(image) for image in images]
    first: dict[bytes, int] = {}  # image -> where it comes first
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    unique = list(first)
    step = chunk or len(unique)
    parts: list[Features] = []
    for start in range(0, len(unique), step):
        part = unique[start : start + step]
        make = _maker(encode, images, [first[key] for key in part])
        parts.append(cache.get_or_make((encoder_key, *part), make) if cache is not None else make())
    place = {key: i for i, key in enumerate(unique)}
    return _join(parts, [place[key] for key in keys])


def _maker(encode: Encode, images: Tensor, rows: list[int]) -> Callable[[], Features]:
    ascending = rows == list(range(rows[0], rows[-1] + 1))  # no copy of a long batch
    return lambda: encode(images[rows[0] : rows[-1] + 1] if ascending else images[rows])


def _join(parts: Sequence[Features], rows: Sequence[int]) -> Features:
    pooled, hidden = torch.cat([part.pooled for part in parts]), torch.cat([part.hidden for part in parts])
    if list(rows) == list(range(len(pooled))):
        return Features(pooled, hidden)
    return Features(pooled[list(rows)], hidden[list(rows)])


def black_image(size: int) -> Tensor:
    """What plus adapters see where nothing was given to see: a black picture (1, size, size, 3)."""
    return torch.zeros(1, size, size, 3)


def fit_to_square(images: Tensor, size: int) -> Tensor:
    """Images (n, h, w, c) with the short side resized to `size` (bicubic) and the long one cut in the middle."""
    if tuple(images.shape[1:3]) == (size, size):
        return images
    images = shorten(images)
    height, width = images.shape[1:3]
    scale = size / min(height, width)
    shape = (round(scale * height), round(scale * width))
    resized = F.interpolate(images.movedim(-1, 1), size=shape, mode="bicubic", antialias=True)
    top, left = ((side - size) // 2 for side in shape)
    return resized[..., top : top + size, left : left + size].movedim(1, -1)


def hide_outside(images: Tensor, masks: Tensor, size: int, mean: Sequence[float] = CLIP_MEAN) -> Tensor:
    """Images as the encoder takes them, (n, size, size, 3), with its mean colour where masks (m, h, w) are 0.

    That is its normalised input times the mask. One mask serves all images, else as many masks as images.
    """
    images = check_images(images)
    masks = masks.unsqueeze(0) if masks.ndim == 2 else masks
    if masks.ndim != 3 or 0 in masks.shape or len(masks) not in (1, len(images)):
        raise AdapterError(
            f"Expected one mask, or one for each of the {len(images)} images, as (masks, height, width), "
            f"got {tuple(masks.shape)}."
        )
    masks = check_mask(masks)
    visible = fit_to_square(masks.unsqueeze(-1).to(images), size)
    background = torch.tensor(mean).to(images)
    # An encoder rounds its input to 8 bits; rounding before the mask, as it does, leaves half a step of difference.
    pixels = (fit_to_square(images, size).clamp(0, 1) * 255).round() / 255
    return pixels * visible + background * (1 - visible)


def encode_tiled(
    encode: Encode,
    images: Tensor,
    tiles: int,
    ratio: float,
    chunk: int = 0,
    cache: ContentCache | None = None,
    encoder_key: Hashable = None,
) -> Features:
    """Features of images mixed with those of their tiles x tiles parts: whole * ratio + parts * (1 - ratio).

    A single image gives two entries instead, whole * ratio and parts, which later count as two references.
    That is no rule anybody would choose; pictures were made with it.
    """
    whole = encode_images(encode, images, chunk, cache, encoder_key)
    if tiles < 2:
        return whole
    cut = cut_tiles(check_images(images), tiles)
    parts = merge_tiles(encode_images(encode, cut, chunk, cache, encoder_key), tiles)
    if len(images) == 1:
        pairs = ((w * ratio, p) for w, p in ((whole.pooled, parts.pooled), (whole.hidden, parts.hidden)))
        return Features(*(torch.cat(pair) for pair in pairs))
    return Features(torch.lerp(parts.pooled, whole.pooled, ratio), torch.lerp(parts.hidden, whole.hidden, ratio))


def cut_tiles(images: Tensor, tiles: int) -> Tensor:
    """Images (n, h, w, c) cut into tiles x tiles parts, row by row: (n * tiles * tiles, h // tiles, w // tiles, c)."""
    height, width = images.shape[1] // tiles, images.shape[2] // tiles
    if not height or not width:
        raise AdapterError(
            f"An image of {images.shape[2]}x{images.shape[1]} pixels cannot be cut into {tiles}x{tiles} tiles: "
            "use fewer tiles or a larger image."
        )
    grid = images[:, : height * tiles, : width * tiles].unflatten(2, (tiles, width)).unflatten(1, (tiles, height))
    return grid.transpose(2, 3).flatten(0, 2)


def merge_tiles(features: Features, tiles: int) -> Features:
    """Features of n * tiles * tiles parts put together to those of n images, in the encoder's own number of tokens.

    Class tokens are averaged; the other tokens form a picture that is shrunk. Pooled embeds are averaged too, unless
    their width is a square number: then they are shrunk as if they were a picture, which makes no sense and is kept
    because pictures were made with it (ViT-H, 1024 wide).
    """
    pooled = features.pooled.unflatten(0, (-1, tiles * tiles))
    hidden = features.hidden.unflatten(0, (-1, tiles * tiles))
    if math.isqrt(pooled.shape[-1]) ** 2 == pooled.shape[-1]:
        joined = _shrink(pooled.unsqueeze(-1), tiles).squeeze(-1)
    else:
        joined = pooled.mean(1)
    return Features(joined, torch.cat((hidden[:, :, :1].mean(1), _shrink(hidden[:, :, 1:], tiles)), dim=1))


def _shrink(parts: Tensor, tiles: int) -> Tensor:
    """Tokens (n, tiles * tiles, side * side, width) as one picture of tiles, averaged to (n, side * side, width)."""
    side = math.isqrt(parts.shape[2])
    grid = parts[:, :, : side * side].unflatten(2, (side, side)).unflatten(1, (tiles, tiles))
    picture = grid.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (n, width, rows, columns)
    return F.adaptive_avg_pool2d(picture, (side, side)).flatten(2).transpose(1, 2)

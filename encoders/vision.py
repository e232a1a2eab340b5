"""Encode pictures with a vision encoder: in chunks, cached by content, and in tiles."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ipadapter.cache import ContentCache, image_keys
from ..ipadapter.checks import check_images
from ..ipadapter.errors import AdapterError
from .encoder import Features, VisionEncoder


def encode_images(
    encoder: VisionEncoder, images: Tensor, chunk: int = 0, cache: ContentCache | None = None
) -> Features:
    """Features of pictures (n, h, w, 1, 3 or 4) in 0..1, encoded in batches of `chunk` (0: all); alpha is ignored.

    Equal pictures are encoded once. With a cache, the features of a chunk are stored under the encoder's key and the
    pictures' content. They are stored per chunk and not per picture, because rows of a batch may differ in the last bit
    from rows encoded alone, and the result must not depend on earlier runs. Never change the features: they are shared.

    Raises:
        AdapterError: the batch is empty, or colours are NaN or infinite.
    """
    colours = check_images(images)
    keys = image_keys(images)
    first: dict[bytes, int] = {}  # content -> its first row
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    unique = list(first)
    step = chunk or len(unique)
    parts: list[Features] = []
    for start in range(0, len(unique), step):
        part = unique[start : start + step]
        rows = [first[key] for key in part]

        def make(rows: list[int] = rows) -> Features:
            return encoder.encode(_take(colours, rows))

        parts.append(make() if cache is None else cache.get_or_make((encoder.key, *part), make))
    row_of = {key: row for row, key in enumerate(unique)}
    rows = [row_of[key] for key in keys]
    return Features(_join([part.pooled for part in parts], rows), _join([part.hidden for part in parts], rows))


def _join(parts: Sequence[Tensor], rows: list[int]) -> Tensor:
    """Some rows of the concatenated parts. For all rows of a single part it is that same tensor, hashed once."""
    return _take(parts[0] if len(parts) == 1 else torch.cat(list(parts)), rows)


def _take(x: Tensor, rows: list[int]) -> Tensor:
    """Rows of a tensor; consecutive rows are a view and not copied."""
    if rows == list(range(len(x))):
        return x
    neighbours = rows == list(range(rows[0], rows[-1] + 1))
    return x[rows[0] : rows[-1] + 1] if neighbours else x[rows]


def encode_tiled(
    embeds_of: Callable[[Tensor], Tensor], images: Tensor, tiles: int, ratio: float, per_frame: bool = False
) -> Tensor:
    """Mix the embeds of pictures with those of their tiles x tiles parts: whole * ratio + parts * (1 - ratio).

    `embeds_of` encodes pictures to pooled embeds (n, d) or tokens (n, t, width). A single picture gives two rows,
    whole * ratio and parts, which count as two references; saved workflows depend on this. With a picture
    `per_frame`, the two would act in different frames, so a single picture is mixed as well.

    Raises:
        AdapterError: the batch is empty, or a side of the pictures has fewer pixels than tiles.
    """
    whole = embeds_of(images)
    if tiles < 2:
        return whole
    parts = merge_tiles(embeds_of(cut_tiles(check_images(images), tiles)), tiles)
    as_two = len(images) == 1 and not per_frame
    return torch.cat((whole * ratio, parts)) if as_two else torch.lerp(parts, whole, ratio)


def cut_tiles(images: Tensor, tiles: int) -> Tensor:
    """Cut pictures (n, h, w, c) into tiles x tiles parts, row by row: (n * tiles**2, h // tiles, w // tiles, c)."""
    height, width = images.shape[1] // tiles, images.shape[2] // tiles
    if not height or not width:
        raise AdapterError(
            f"An image of {images.shape[2]}x{images.shape[1]} pixels cannot be cut into {tiles}x{tiles} tiles: "
            "use fewer tiles or a larger image."
        )
    grid = images[:, : height * tiles, : width * tiles].unflatten(2, (tiles, width)).unflatten(1, (tiles, height))
    return grid.transpose(2, 3).flatten(0, 2)


def merge_tiles(embeds: Tensor, tiles: int) -> Tensor:
    """Merge the embeds of n * tiles * tiles parts to those of n pictures, (n, d) or (n, t, width).

    The tokens of a part are a square grid of patches, in CLIP after a class token and in DINO also after registers.
    The grids of all parts are joined to the grid of the picture, which is averaged to the size of a part's grid. Class
    tokens and registers are averaged over parts, and so are pooled embeds. Pooled embeds whose width is a square number
    (1024 of ViT-H) are averaged as if they were a grid; that has no meaning, but saved workflows depend on it.
    """
    parts = embeds.unflatten(0, (-1, tiles * tiles))
    if embeds.ndim == 2:
        square = math.isqrt(embeds.shape[1]) ** 2 == embeds.shape[1]
        return _shrink(parts.unsqueeze(-1), tiles).squeeze(-1) if square else parts.mean(1)
    leading = embeds.shape[1] - math.isqrt(embeds.shape[1]) ** 2
    return torch.cat((parts[:, :, :leading].mean(1), _shrink(parts[:, :, leading:], tiles)), dim=1)


def _shrink(parts: Tensor, tiles: int) -> Tensor:
    """Tokens (n, tiles * tiles, side * side, width) as one picture of tiles, averaged to (n, side * side, width)."""
    side = math.isqrt(parts.shape[2])
    grid = parts.unflatten(2, (side, side)).unflatten(1, (tiles, tiles))
    picture = grid.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (n, width, rows, columns)
    return F.adaptive_avg_pool2d(picture, (side, side)).flatten(2).transpose(1, 2)

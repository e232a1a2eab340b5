"""Position embeddings of a vision encoder for pictures of another size than it was trained with."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ipadapter.errors import EncoderMismatchError


def interpolate_positions(table: Tensor, tokens: int) -> Tensor:
    """Position embeddings (1 + n, d) of a class token and a square grid, as (tokens, d) for a larger or smaller grid.

    The grid is interpolated (bicubic) as in transformers' CLIP (modeling_clip.py: interpolate_pos_encoding).

    Raises:
        EncoderMismatchError: the old or the new table is not a class token and a square grid.
    """
    sides = [math.isqrt(count - 1) for count in (len(table), tokens)]
    if any(side * side + 1 != count for side, count in zip(sides, (len(table), tokens), strict=True)):
        raise EncoderMismatchError(
            f"This vision encoder has {len(table)} position embeddings, which are no class token and square grid, so "
            "they cannot be interpolated for pictures of another size. Use a CLIP encoder."
        )
    grid = table[1:].float().unflatten(0, (sides[0], sides[0])).movedim(-1, 0).unsqueeze(0)
    resized = F.interpolate(grid, size=(sides[1], sides[1]), mode="bicubic", align_corners=False)
    return torch.cat((table[:1].float(), resized.squeeze(0).flatten(1).T))

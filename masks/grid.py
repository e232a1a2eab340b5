"""Bring a mask from its own size to the grid of a model's tokens."""

import torch
from torch import Tensor
from torch.nn import functional

Area = tuple[int, int, int, int]  # height, width, top, left


def mask_on_grid(
    mask: Tensor, grid: tuple[int, int], area: Area | None = None, canvas: tuple[int, int] | None = None
) -> Tensor:
    """A mask (m, height, width) at the tokens of a grid (rows, columns), as (m, rows * columns, 1); bilinear.

    If the model samples an `area` of the `canvas` (both in latent pixels), only this part of the mask is used.
    """
    if area is not None and canvas is not None:
        mask = _crop(mask, area, canvas)
    resized = functional.interpolate(mask.float().unsqueeze(1), size=grid, mode="bilinear", align_corners=False)
    return resized.flatten(1).unsqueeze(-1)


def mask_around(mask: Tensor, before: int, behind: int) -> Tensor:
    """A mask (m, tokens, 1) of the picture's tokens, extended to a sequence that also holds other tokens.

    The `before` text tokens have no position in the picture, and every token attends to them. So they get the share of
    the picture that the mask covers: 1 for a full mask, 0 for an empty mask. The `behind` tokens of reference latents
    get 0.
    """
    text = mask.mean(dim=1, keepdim=True).expand(-1, before, -1)
    return torch.cat((text, mask, mask.new_zeros(len(mask), behind, 1)), dim=1) if before or behind else mask


def _crop(mask: Tensor, area: Area, canvas: tuple[int, int]) -> Tensor:
    for axis in (0, 1):
        scale = mask.shape[1 + axis] / canvas[axis]
        start = min(round(area[2 + axis] * scale), mask.shape[1 + axis] - 1)
        length = max(1, min(round(area[axis] * scale), mask.shape[1 + axis] - start))
        mask = mask.narrow(1 + axis, start, length)
    return mask

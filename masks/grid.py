"""Bring a mask from its own size to the grid of a UNet level's tokens."""

from torch import Tensor
from torch.nn import functional

Area = tuple[int, int, int, int]  # height, width, top, left


def mask_on_grid(
    mask: Tensor, grid: tuple[int, int], area: Area | None = None, canvas: tuple[int, int] | None = None
) -> Tensor:
    """A mask (m, height, width) at the tokens of a grid (rows, columns), as (m, rows * columns, 1); bilinear, grey
    values kept.

    Where the model sees only an area of the canvas (both in latent pixels), only that part of the mask is used.
    """
    if area is not None and canvas is not None:
        mask = _crop(mask, area, canvas)
    resized = functional.interpolate(mask.float().unsqueeze(1), size=grid, mode="bilinear", align_corners=False)
    return resized.flatten(1).unsqueeze(-1)


def _crop(mask: Tensor, area: Area, canvas: tuple[int, int]) -> Tensor:
    for axis in (0, 1):
        scale = mask.shape[1 + axis] / canvas[axis]
        start = min(round(area[2 + axis] * scale), mask.shape[1 + axis] - 1)
        length = max(1, min(round(area[axis] * scale), mask.shape[1 + axis] - start))
        mask = mask.narrow(1 + axis, start, length)
    return mask

"""Solid masks and masks laid over each other, in pixels or in fractions of a canvas."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

LATENT_SCALE = 8  # pixels that a latent's row or column stands for, when the latent does not say


def canvas_size(canvas: Tensor | Mapping[str, Any]) -> tuple[int, int]:
    """Height and width in pixels of what is plugged in as a canvas.

    A latent is a mapping with `samples` (..., h, w); an image is (b, h, w, channels); a mask is (b, h, w) or (h, w).
    """
    if isinstance(canvas, Mapping):
        scale = canvas.get("downscale_ratio_spacial") or LATENT_SCALE
        height, width = canvas["samples"].shape[-2:]
        return height * scale, width * scale
    height, width = canvas.shape[1:3] if canvas.ndim == 4 else canvas.shape[-2:]
    return height, width


def share(fraction: float, length: int) -> int:
    """So many pixels of a length, rounded to the nearest one, halves up."""
    return int(fraction * length + 0.5)


def solid_mask(value: float, height: int, width: int) -> Tensor:
    """A mask of one value, (1, height, width), at least one pixel large."""
    return torch.full((1, max(height, 1), max(width, 1)), value)


def as_booleans(combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A rule on black and white masks, where grey counts as the nearer of the two."""
    return lambda below, above: combine(below.round().bool(), above.round().bool()).to(below.dtype)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multiply": torch.mul,
    "add": torch.add,
    "subtract": torch.sub,
    "and": as_booleans(torch.logical_and),
    "or": as_booleans(torch.logical_or),
    "xor": as_booleans(torch.logical_xor),
}


def composite_masks(destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> Tensor:
    """Lay `source` over `destination` with its upper left corner at (x, y), (b, h, w) with values 0 to 1.

    What sticks out of the destination is cut off. A mask without a batch is a batch of one, and a batch of one
    serves every entry of the other.

    Raises:
        ValueError: two batches of different sizes.
    """
    below, above = (mask.reshape(-1, *mask.shape[-2:]) for mask in (destination, source))
    if len(below) != len(above) and 1 not in (len(below), len(above)):
        raise ValueError(
            f"Masks can be combined one by one, or one with many: the destination holds {len(below)} masks and the "
            f"source {len(above)}. Give one of them a single mask, or both the same number."
        )
    result = below.repeat(max(1, len(above) // len(below)), 1, 1)
    covered = result[:, y : y + above.shape[1], x : x + above.shape[2]]
    visible = above[:, : covered.shape[1], : covered.shape[2]].to(covered)
    covered.copy_(OPERATIONS[operation](covered, visible))
    return result.clamp(0, 1)

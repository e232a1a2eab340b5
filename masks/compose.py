"""Make solid masks and combine masks, with positions in pixels or in fractions of a canvas."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..ipadapter.errors import AdapterError

LATENT_SCALE = 8  # pixels per row or column of a latent that does not state its scale


def canvas_size(canvas: Tensor | Mapping[str, Any]) -> tuple[int, int]:
    """Height and width in pixels of a latent, an image or a mask.

    A latent is a mapping with `samples` (..., h, w); an image is (b, h, w, channels); a mask is (b, h, w) or (h, w).
    AdapterError for any other value.
    """
    tensor = canvas.get("samples") if isinstance(canvas, Mapping) else canvas
    if not isinstance(tensor, Tensor) or tensor.ndim < 2 or not tensor.numel():
        raise AdapterError(f"canvas needs a latent, an image or a mask with a size, and got a {type(canvas).__name__}.")
    if isinstance(canvas, Mapping):
        scale = canvas.get("downscale_ratio_spacial") or LATENT_SCALE
        height, width = tensor.shape[-2:]
        return height * scale, width * scale
    height, width = tensor.shape[1:3] if tensor.ndim == 4 else tensor.shape[-2:]
    return height, width


def share(fraction: float, length: int) -> int:
    """The pixels of a fraction of a length, rounded to the nearest pixel, halves up."""
    return int(fraction * length + 0.5)


def solid_mask(value: float, height: int, width: int) -> Tensor:
    """A mask of a single value, (1, height, width); at least 1 x 1 pixels."""
    return torch.full((1, max(height, 1), max(width, 1)), value)


def as_booleans(combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A rule for boolean masks as a rule for masks of 0 to 1, whose values are rounded to 0 or 1 first."""
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
    """`destination` with `source` laid over it, the upper left corner of `source` at (x, y); (b, h, w), 0 to 1.

    Parts of the source outside the destination are cut off. A mask (h, w) is a batch of 1, and a batch of 1 is combined
    with every mask of the other batch.

    Raises:
        ValueError: two batches of different sizes, neither of them 1.
    """
    below, above = (mask.reshape(-1, *mask.shape[-2:]) for mask in (destination, source))
    if len(below) != len(above) and 1 not in (len(below), len(above)):
        raise ValueError(
            f"Masks can be combined in pairs, or a single mask with many: the destination holds {len(below)} masks and "
            f"the source {len(above)}. Give either of them a single mask, or both the same number."
        )
    result = below.repeat(max(1, len(above) // len(below)), 1, 1)
    covered = result[:, y : y + above.shape[1], x : x + above.shape[2]]
    visible = above[:, : covered.shape[1], : covered.shape[2]].to(covered)
    covered.copy_(OPERATIONS[operation](covered, visible))
    return result.clamp(0, 1)

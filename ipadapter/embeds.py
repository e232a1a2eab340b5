"""Combine the embeds of several images into those of a single reference, before the projection."""

from collections.abc import Callable

import torch
from torch import Tensor

from .errors import AdapterError


def subtract(embeds: Tensor) -> Tensor:
    """The first image without what the others have in common; a single image stays as it is."""
    return embeds[:1] - embeds[1:].mean(0, keepdim=True) if len(embeds) > 1 else embeds


def norm_average(embeds: Tensor) -> Tensor:
    """The mean of images that are divided, element by element, by their root sum of squares over the images.

    Not a vector norm: magnitudes are lost, n equal images give sign / sqrt(n). Saved workflows depend on it.
    An element that is 0 in all images stays 0.
    """
    norm = embeds.square().sum(0, keepdim=True).sqrt()
    return torch.where(norm > 0, embeds / norm, 0).mean(0, keepdim=True)


COMBINE: dict[str, Callable[[Tensor], Tensor]] = {
    "concat": lambda embeds: embeds,  # all tokens are attended to together
    "add": lambda embeds: embeds.sum(0, keepdim=True),
    "subtract": subtract,
    "average": lambda embeds: embeds.mean(0, keepdim=True),
    "norm average": norm_average,
    "max": lambda embeds: embeds.amax(0, keepdim=True),
    "min": lambda embeds: embeds.amin(0, keepdim=True),
}


def combine(embeds: Tensor, method: str) -> Tensor:
    """Embeds (n, ...) of n images joined by a method of COMBINE: (1, ...), or (n, ...) for "concat"."""
    if method not in COMBINE:
        raise AdapterError(f"Unknown way to combine embeds {method!r}: choose one of {', '.join(COMBINE)}.")
    return COMBINE[method](embeds) if len(embeds) > 1 else embeds

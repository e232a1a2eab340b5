"""Combine the embeds of several images into those of a single reference, before the projection."""

from collections.abc import Callable

import torch
from torch import Tensor

from .errors import AdapterError


def subtract(embeds: Tensor) -> Tensor:
    """Embeds (n, ...) -> (1, ...): the first image minus the mean of the others; a single image is unchanged."""
    return embeds[:1] - embeds[1:].mean(0, keepdim=True) if len(embeds) > 1 else embeds


def norm_average(embeds: Tensor) -> Tensor:
    """Embeds (n, ...) -> (1, ...): divide every element by its root sum of squares over the images, then average them.

    This is not the norm of a vector: magnitudes are lost, and n equal images give sign / sqrt(n). Saved workflows
    depend on it. An element that is 0 in all images stays 0.
    """
    norm = embeds.square().sum(0, keepdim=True).sqrt()
    return torch.where(norm > 0, embeds / norm, 0).mean(0, keepdim=True)


COMBINE: dict[str, Callable[[Tensor], Tensor]] = {
    "concat": lambda embeds: embeds,  # the tokens of all images go into the same attention
    "add": lambda embeds: embeds.sum(0, keepdim=True),
    "subtract": subtract,
    "average": lambda embeds: embeds.mean(0, keepdim=True),
    "norm average": norm_average,
    "max": lambda embeds: embeds.amax(0, keepdim=True),
    "min": lambda embeds: embeds.amin(0, keepdim=True),
}


def combine(embeds: Tensor, method: str) -> Tensor:
    """Combine embeds (n, ...) of n images by a method of COMBINE to (1, ...), or (n, ...) for "concat".

    Raises:
        AdapterError: the method is unknown.
    """
    if method not in COMBINE:
        raise AdapterError(f"Unknown way to combine embeds {method!r}: choose one of {', '.join(COMBINE)}.")
    return COMBINE[method](embeds) if len(embeds) > 1 else embeds

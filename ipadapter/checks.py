"""Which pictures, masks, embeds and weights can be worked with: whatever is not like this would make a wrong picture
without a word, so it is refused by name.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .errors import AdapterError

# Far beyond what anybody means: masks go from 0 to 1, published embeds stay below 1,000, and widgets end at 5. Half
# precision ends at 65,504.
LARGEST_MASK, LARGEST_EMBED, LARGEST_WEIGHT = 16.0, 1e5, 1e3
NO_NUMBERS = "holds values that are not numbers (NaN or infinite)"


def extremes(x: Tensor) -> tuple[float, float]:
    """The least and the greatest value of a tensor; NaN where any of it is."""
    low, high = torch.aminmax(x.detach().float() if x.element_size() == 1 else x.detach())
    return float(low), float(high)


def is_finite(x: Tensor) -> bool:
    """Whether every value of a tensor is a number; an empty one has no other."""
    return not x.numel() or all(map(math.isfinite, extremes(x)))


def check_pictures(images: Any, name: str = "image") -> Tensor:
    """Pictures (n, h, w, 1 to 4) in float32, with their channels.

    AdapterError for none, for whole numbers in place of 0 to 1, and for values that are not numbers.
    """
    _check_kind(images, name, "pictures")
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[-1] > 4:
        raise AdapterError(f"{name}: expected images of shape (images, height, width, 3 or 4 colours), got {shape}.")
    if 0 in shape:
        raise AdapterError(f"{name}: expected at least one image with at least one pixel, got a batch of {shape}.")
    colours = images[..., :3]  # what lies in alpha is not looked at
    if not is_finite(colours):
        bad = next(number for number, image in enumerate(colours, 1) if not is_finite(image))
        raise AdapterError(
            f"{name}: Image {bad} of {len(images)} {NO_NUMBERS}: whatever made it went wrong, often a VAE in half "
            "precision."
        )
    return images.float()


def check_images(images: Tensor) -> Tensor:
    """Images as an encoder takes them, (n, h, w, 3) without alpha; AdapterError says what is wrong with others."""
    if isinstance(images, Tensor) and (images.ndim != 4 or images.shape[-1] not in (3, 4)):
        raise AdapterError(
            f"Expected images of shape (images, height, width, 3 or 4 colours), got {tuple(images.shape)}."
        )
    return check_pictures(images)[..., :3]


def check_mask(mask: Any, name: str = "mask") -> Tensor:
    """A mask (h, w) or masks (m, h, w) in float32; AdapterError for none, and for values far from 0 to 1."""
    _check_kind(mask, name, "a mask")
    if mask.ndim not in (2, 3, 4) or not mask.numel():
        raise AdapterError(f"{name} must be a mask of shape (masks, height, width), got {tuple(mask.shape)}.")
    values = mask.float()
    low, high = extremes(values)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise AdapterError(f"{name} {NO_NUMBERS}: the node that made it went wrong.")
    if max(-low, high) > LARGEST_MASK:
        raise AdapterError(f"{name} goes from {low:g} to {high:g}, and masks go from 0 (black) to 1 (white).")
    return values


def check_embeds(embeds: Any, name: str, pairs: bool = False) -> Tensor:
    """Embeds (n, width) or (n, tokens, width), or `pairs` (2, n, ...) of such; those in 8 bits in 32.

    AdapterError for anything else, and for values that are not numbers or too large to be embeds.
    """
    if not isinstance(embeds, Tensor):
        raise AdapterError(f"{name}: expected embeds from an IPAdapter Encoder, got a {type(embeds).__name__}.")
    fits = embeds.ndim in (2, 3) or (pairs and embeds.ndim == 4 and len(embeds) == 2)
    if not embeds.numel() or not embeds.is_floating_point() or not fits:
        raise AdapterError(
            f"{name}: expected embeds (images, width) or (images, tokens, width) of floats, got "
            f"{tuple(embeds.shape)} of {embeds.dtype}."
        )
    values = embeds.float() if embeds.element_size() == 1 else embeds
    low, high = extremes(values)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise AdapterError(f"{name}: the embeds hold values that are not numbers (NaN or infinite).")
    if max(-low, high) > LARGEST_EMBED:
        raise AdapterError(f"{name}: values go from {low:g} to {high:g}, and no encoder gives such embeds.")
    return values


def check_weight(weight: Any, name: str = "weight") -> float:
    """A single weight; AdapterError for anything but a number that a weight can be."""
    if not isinstance(weight, Real):
        raise AdapterError(f"{name} needs a number, and got a {type(weight).__name__}.")
    try:
        value = float(weight)
    except OverflowError:  # whole numbers have no end
        value = math.inf
    if not abs(value) <= LARGEST_WEIGHT:  # NaN too
        raise AdapterError(f"{name} is {value}: expected a number from -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}.")
    return value


def check_weights(weights: Any, name: str = "weight") -> float | list[float]:
    """A weight, or a list of one per frame."""
    if isinstance(weights, Sequence) and not isinstance(weights, str):
        if not weights:
            raise AdapterError(f"{name} is an empty list: it needs one number, or one per frame.")
        return [check_weight(weight, f"{name}, frame {frame}") for frame, weight in enumerate(weights)]
    return check_weight(weights, name)


def check_tensors(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds something else than numbers; those without values are passed over."""
    return next((key for key, tensor in tensors.items() if not tensor.is_meta and not is_finite(tensor)), None)


def _check_kind(value: Any, name: str, what: str) -> None:
    if not isinstance(value, Tensor):
        raise AdapterError(f"{name} needs {what}, and got a {type(value).__name__}.")
    if not value.is_floating_point() and value.dtype != torch.bool:
        raise AdapterError(f"{name}: expected {what} of floats from 0 to 1, got {value.dtype}: divide by 255.")

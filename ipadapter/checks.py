"""Checks of pictures, masks, embeds and weights; errors name the input with the bad value.

Without these checks, such a value would silently give a wrong picture. A tensor is scanned once, and again only after
it has changed.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .cache import LIVE
from .errors import AdapterError

# Limits far above real values: masks are 0 to 1, published embeds are below 1,000, and widgets allow at most 5. The
# largest number in half precision is 65,504.
LARGEST_MASK, LARGEST_EMBED, LARGEST_WEIGHT = 16.0, 1e5, 1e3
NO_NUMBERS = "holds values that are not numbers (NaN or infinite)"


def extremes(x: Tensor) -> tuple[float, float]:
    """The smallest and the largest value of a tensor; both NaN if any value is NaN."""
    low, high = torch.aminmax(x.detach().float() if x.element_size() == 1 else x.detach())
    return float(low), float(high)


def is_finite(x: Tensor) -> bool:
    """Whether every value of a tensor is a finite number; True for an empty tensor."""
    return not x.numel() or all(map(math.isfinite, extremes(x)))


def extremes_once(x: Tensor) -> tuple[float, float]:
    """`extremes`, computed once while the tensor lives and does not change."""
    return LIVE.get_or_make(x, "extremes", lambda: extremes(x))


def check_pictures(images: Any, name: str = "image") -> Tensor:
    """Pictures (n, h, w, 1, 3 or 4) in float32 as (n, h, w, 3 or 4): grey becomes three equal channels.

    Raises:
        AdapterError: no pictures, integers instead of floats from 0 to 1, or colours that are NaN or infinite.
    """
    _check_kind(images, name, "pictures")
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[-1] not in (0, 1, 3, 4):
        raise AdapterError(f"{name}: expected images of shape (images, height, width, 1, 3 or 4 colours), got {shape}.")
    if 0 in shape:
        raise AdapterError(f"{name}: expected at least one image with at least one pixel, got a batch of {shape}.")
    colours = images[..., :3]  # alpha is not checked, because no encoder reads it
    if not LIVE.get_or_make(images, "finite colours", lambda: is_finite(colours)):
        bad = next(number for number, image in enumerate(colours, 1) if not is_finite(image))
        raise AdapterError(
            f"{name}: Image {bad} of {len(images)} {NO_NUMBERS}: whatever made it went wrong, often a VAE in half "
            "precision."
        )
    return (colours_of(images) if shape[-1] == 1 else images).float()


def colours_of(images: Tensor) -> Tensor:
    """Pictures (n, h, w, 1, 3 or 4) as (n, h, w, 3): grey becomes three equal channels, alpha is left out."""
    return images[..., :3].expand(*images.shape[:3], 3)


def check_images(images: Tensor) -> Tensor:
    """Grey, RGB or RGBA pictures as encoders take them, (n, h, w, 3) in float32; errors as of `check_pictures`."""
    return colours_of(check_pictures(images))


def check_mask(mask: Any, name: str = "mask") -> Tensor:
    """A mask (h, w) or masks (m, h, w) in float32; masks (m, 1, h, w) lose their single channel.

    Raises:
        AdapterError: no mask, or values far from 0 to 1.
    """
    _check_kind(mask, name, "a mask")
    if mask.ndim not in (2, 3, 4) or (mask.ndim == 4 and mask.shape[1] != 1) or not mask.numel():
        raise AdapterError(f"{name} must be a mask of shape (masks, height, width), got {tuple(mask.shape)}.")
    values = mask.float()
    low, high = extremes_once(values)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise AdapterError(f"{name} {NO_NUMBERS}: the node that made it went wrong.")
    if max(-low, high) > LARGEST_MASK:
        raise AdapterError(f"{name} goes from {low:g} to {high:g}, and masks go from 0 (black) to 1 (white).")
    return values.squeeze(1) if values.ndim == 4 else values


def check_embeds(embeds: Any, name: str, pairs: bool = False) -> Tensor:
    """Embeds (n, width) or (n, tokens, width), or `pairs` (2, n, ...) of such; 8-bit floats become float32.

    Raises:
        AdapterError: any other value, and numbers that are NaN, infinite or too large for embeds.
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
    low, high = extremes_once(values)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise AdapterError(f"{name}: the embeds hold values that are not numbers (NaN or infinite).")
    if max(-low, high) > LARGEST_EMBED:
        raise AdapterError(f"{name}: values go from {low:g} to {high:g}, and no encoder gives such embeds.")
    return values


def check_weight(weight: Any, name: str = "weight") -> float:
    """A single weight as a float; AdapterError for anything but a number from -1,000 to 1,000."""
    if not isinstance(weight, Real):
        raise AdapterError(f"{name} needs a number, and got a {type(weight).__name__}.")
    try:
        value = float(weight)
    except OverflowError:  # an integer too large for a float
        value = math.inf
    if not abs(value) <= LARGEST_WEIGHT:  # NaN too
        raise AdapterError(f"{name} is {value}: expected a number from -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}.")
    return value


def check_weights(weights: Any, name: str = "weight") -> float | list[float]:
    """A single weight, or a list with one weight per frame, as floats; AdapterError as of `check_weight`."""
    if isinstance(weights, Sequence) and not isinstance(weights, str):
        if not weights:
            raise AdapterError(f"{name} is an empty list: it needs one number, or one per frame.")
        return [check_weight(weight, f"{name}, frame {frame}") for frame, weight in enumerate(weights)]
    return check_weight(weights, name)


def check_tensors(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a NaN or infinite value; None if there is none. Meta tensors have no values."""
    return next((key for key, tensor in tensors.items() if not tensor.is_meta and not is_finite(tensor)), None)


def _check_kind(value: Any, name: str, what: str) -> None:
    if not isinstance(value, Tensor):
        raise AdapterError(f"{name} needs {what}, and got a {type(value).__name__}.")
    if not value.is_floating_point() and value.dtype != torch.bool:
        raise AdapterError(f"{name}: expected {what} of floats from 0 to 1, got {value.dtype}: divide by 255.")

"""A vision encoder as an object: the size and mean colour of its pictures, how they are fitted, and what it gives."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ipadapter.checks import check_images, check_mask
from ..ipadapter.errors import AdapterError
from .pictures import shorten


@dataclass(frozen=True)
class Features:
    """What a vision encoder gives for n pictures."""

    pooled: Tensor  # (n, d): one vector for the whole picture; ComfyUI's SigLIP gives its last tokens (n, t, d) instead
    hidden: Tensor  # (n, t, width): tokens of the penultimate layer; a class token, where there is one, comes first


Fit = Callable[[Tensor, int], Tensor]  # pictures or masks (n, h, w, c) and a size -> (n, size, size, c)


def crop(images: Tensor, size: int) -> Tensor:
    """Pictures or masks (n, h, w, c) with the short side resized to `size` (bicubic) and the long side cut centrally.

    Bit for bit what ComfyUI's encoders do before they round to 8 bits (comfy/clip_model.py: clip_preprocess).
    """
    images = shorten(images)
    height, width = images.shape[1:3]
    scale = size / min(height, width)
    resized = _resize(images, round(scale * height), round(scale * width))
    top, left = ((side - size) // 2 for side in resized.shape[1:3])
    return resized[:, top : top + size, left : left + size]


def stretch(images: Tensor, size: int) -> Tensor:
    """Pictures or masks (n, h, w, c) with both sides resized to `size` (bicubic), as ComfyUI does with crop=False."""
    return _resize(images, size, size)


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    if tuple(images.shape[1:3]) == (height, width):
        return images
    return F.interpolate(images.movedim(-1, 1), size=(height, width), mode="bicubic", antialias=True).movedim(1, -1)


@dataclass(frozen=True)
class VisionEncoder:
    """A vision encoder with the habits of the adapter that it works for."""

    size: int  # pixels: side of the square pictures that the network takes
    mean: Sequence[float]  # the colour (3) that normalises to 0, in 0..1
    fit: Fit  # how a picture that is no such square becomes one
    encode: Callable[[Tensor], Features]  # of pictures (n, h, w, 3) in 0..1 of any size; it fits them as `fit` does
    key: Hashable = None  # equal for encoders that give equal features: part of the key under which features are stored


@cache
def black_image(size: int) -> Tensor:
    """A black picture (1, size, size, 3): what plus adapters were trained to see where there is no reference.

    Always the same tensor, so that its content is hashed once; it occupies three numbers.
    """
    with torch.inference_mode(False):
        return torch.zeros(1, 1, 1, 3).expand(1, size, size, 3)


def hide_outside(images: Tensor, masks: Tensor, encoder: VisionEncoder) -> Tensor:
    """Pictures (n, h, w, 1, 3 or 4) fitted for an encoder, (n, size, size, 3), in its mean colour where a mask is 0.

    The encoder's normalised input is then the picture's times the mask. One mask (h, w) serves all pictures; masks
    (m, h, w) belong to one picture each. A mask is fitted as the picture is.

    Raises:
        AdapterError: no pictures, no masks, or another number of masks than of pictures.
    """
    images, masks = check_images(images), check_mask(masks)
    masks = masks.unsqueeze(0) if masks.ndim == 2 else masks
    if masks.ndim != 3 or len(masks) not in (1, len(images)):
        raise AdapterError(
            f"Expected one mask, or one for each of the {len(images)} images, as (masks, height, width), "
            f"got {tuple(masks.shape)}."
        )
    visible = encoder.fit(masks.unsqueeze(-1).to(images), encoder.size)
    background = torch.tensor(encoder.mean).to(images)
    # Encoders round their input to 8 bits; rounded before the mask, a grey mask is off by half a step at most.
    pixels = (encoder.fit(images, encoder.size).clamp(0, 1) * 255).round() / 255
    return pixels * visible + background * (1 - visible)

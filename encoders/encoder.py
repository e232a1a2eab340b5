"""A vision encoder as an object: its input size, mean colour, crop or stretch, and the function that encodes."""

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
    """Output of a vision encoder for n pictures: pooled embeds and hidden states."""

    pooled: Tensor  # (n, d): a vector per picture; ComfyUI's SigLIP gives its last tokens (n, t, d) instead
    hidden: Tensor  # (n, t, width): tokens of the penultimate layer; the class token of a CLIP comes first


Fit = Callable[[Tensor, int], Tensor]  # pictures or masks (n, h, w, c) and a size -> (n, size, size, c)


def crop(images: Tensor, size: int) -> Tensor:
    """Resize the short side of pictures or masks (n, h, w, c) to `size` (bicubic) and crop the long side to its middle.

    The result, (n, size, size, c), equals bit for bit that of ComfyUI's encoders before they round to 8 bits
    (comfy/clip_model.py: clip_preprocess).
    """
    images = shorten(images)
    height, width = images.shape[1:3]
    scale = size / min(height, width)
    resized = _resize(images, round(scale * height), round(scale * width))
    top, left = ((side - size) // 2 for side in resized.shape[1:3])
    return resized[:, top : top + size, left : left + size]


def stretch(images: Tensor, size: int) -> Tensor:
    """Resize both sides of pictures or masks (n, h, w, c) to `size` (bicubic), as ComfyUI does with crop=False."""
    return _resize(images, size, size)


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    if tuple(images.shape[1:3]) == (height, width):
        return images
    return F.interpolate(images.movedim(-1, 1), size=(height, width), mode="bicubic", antialias=True).movedim(1, -1)


@dataclass(frozen=True)
class VisionEncoder:
    """A vision encoder, with the preprocessing that the adapter behind it was trained with."""

    size: int  # pixels: side of the square pictures that the network takes
    mean: Sequence[float]  # the colour (3) that normalises to 0, in 0..1
    fit: Fit  # crops or stretches a picture of any shape to this square
    encode: Callable[[Tensor], Features]  # of pictures (n, h, w, 3) in 0..1 of any size; it fits them as `fit` does
    key: Hashable = None  # equal for encoders with equal features; part of the key under which features are cached


@cache
def black_image(size: int) -> Tensor:
    """A black picture (1, size, size, 3), which plus adapters were trained with in place of a missing reference.

    Every call with the same size returns the same tensor, so its content is hashed once. The tensor is expanded from
    three numbers and needs no more memory than these.
    """
    with torch.inference_mode(False):
        return torch.zeros(1, 1, 1, 3).expand(1, size, size, 3)


def hide_outside(images: Tensor, masks: Tensor, encoder: VisionEncoder) -> Tensor:
    """Fit pictures (n, h, w, 1, 3 or 4) to an encoder, (n, size, size, 3), and fill them with its mean colour where a
    mask is 0.

    The mean colour normalises to 0, so the encoder's normalised input is that of the picture times the mask. A mask
    (h, w) or (1, h, w) applies to all pictures; of masks (n, h, w), each applies to the picture of its number. Masks
    are cropped or stretched as the pictures are.

    Raises:
        AdapterError: the pictures or masks are empty, or the number of masks is neither 1 nor n.
    """
    images, masks = check_images(images), check_mask(masks)
    masks = masks.unsqueeze(0) if masks.ndim == 2 else masks
    if len(masks) not in (1, len(images)):
        raise AdapterError(
            f"Expected one mask, or one for each of the {len(images)} images, as (masks, height, width), "
            f"got {tuple(masks.shape)}."
        )
    visible = encoder.fit(masks.unsqueeze(-1).to(images), encoder.size)
    background = torch.tensor(encoder.mean).to(images)
    # Encoders round their input to 8 bits. Rounding here, before the mask, keeps the error of a grey mask below half a
    # step.
    pixels = (encoder.fit(images, encoder.size).clamp(0, 1) * 255).round() / 255
    return pixels * visible + background * (1 - visible)

"""Crop, resize and sharpen reference pictures. Pictures are (n, height, width, channels), floats from 0 to 1."""

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

FILTERS: dict[str, Image.Resampling] = {
    name: Image.Resampling[name] for name in ("LANCZOS", "BICUBIC", "HAMMING", "BILINEAR", "BOX", "NEAREST")
}

# (height - side, width - side) -> upper and left edge of the square crop of that side.
Corner = Callable[[int, int], tuple[int, int]]
SQUARES: dict[str, Corner] = {
    "top": lambda spare_y, spare_x: (0, spare_x // 2),
    "bottom": lambda spare_y, spare_x: (spare_y, spare_x // 2),
    "left": lambda spare_y, spare_x: (spare_y // 2, 0),
    "right": lambda spare_y, spare_x: (spare_y // 2, spare_x),
    "center": lambda spare_y, spare_x: (spare_y // 2, spare_x // 2),
}
PAD = "pad"
LONG = 32  # ratio of long side to short side above which a picture is cropped before it is resized; photos are below


def crop_to_square(images: Tensor, position: str = "center") -> Tensor:
    """The largest square crop (n, side, side, c) of pictures (n, h, w, c); `position` is a key of SQUARES."""
    height, width = images.shape[1:3]
    side = min(height, width)
    y, x = SQUARES[position](height - side, width - side)
    return images[:, y : y + side, x : x + side]


def center_crop(images: Tensor, height: int, width: int) -> Tensor:
    """The middle `height` x `width` pixels of pictures or masks (n, h, w[, c]).

    The upper and left margins are half of the difference, rounded half to even as in torchvision.
    """
    y, x = round((images.shape[1] - height) / 2), round((images.shape[2] - width) / 2)
    return images[:, y : y + height, x : x + width]


def shorten(images: Tensor) -> Tensor:
    """Crop the long side of pictures or masks (n, h, w[, c]) to at most 32 times the short side, at the middle.

    Resizing the short side of a longer strip would make thousands of pixels that the square crop then cuts off.
    """
    height, width = images.shape[1:3]
    short = min(height, width)
    return center_crop(images, min(height, short * LONG), min(width, short * LONG))


def pad_to_square(images: Tensor) -> Tensor:
    """Pad pictures (n, h, w, c) with black to squares (n, side, side, c), where `side` is their long side."""
    height, width = images.shape[1:3]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    return pad(images, (0, 0, left, side - width - left, top, side - height - top))


def resize(images: Tensor, height: int, width: int, filter: str = "LANCZOS") -> Tensor:
    """Resize pictures (n, h, w, c) with one of Pillow's filters, in floats and without rounding to 8 bits.

    The result, (n, height, width, c), is on the pictures' device.
    """

    def plane(values: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(values, "F").resize((width, height), FILTERS[filter]))

    planes = images.detach().float().cpu().permute(0, 3, 1, 2).contiguous().numpy()
    resized = np.stack([[plane(channel) for channel in picture] for picture in planes])
    return torch.from_numpy(resized).permute(0, 2, 3, 1).contiguous().clamp(0, 1).to(images.device)


def resize_smoothly(images: Tensor, height: int, width: int) -> Tensor:
    """Resize pictures or masks (n, h, w[, c]): bicubic, with a low-pass filter when they shrink; not clamped."""
    planes = (images.unsqueeze(-1) if images.ndim == 3 else images).float().movedim(-1, 1)
    resized = interpolate(planes, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.movedim(1, -1).reshape(len(images), height, width, *images.shape[3:])


def sharpen(images: Tensor, amount: float) -> Tensor:
    """Contrast-adaptive sharpening (AMD FidelityFX CAS): strong where neighbours are similar, weak at edges.

    Pictures are (n, h, w, c), `amount` is 0 to 1; pixels outside the picture count as black.
    """
    planes = pad(images.float().permute(0, 3, 1, 2), (1, 1, 1, 1))
    height, width = images.shape[1:3]
    around = {(y, x): planes[..., y : y + height, x : x + width] for y in range(3) for x in range(3)}
    middle = around[1, 1]
    sides = [around[place] for place in ((0, 1), (1, 0), (1, 2), (2, 1))]
    cross = [*sides, middle]
    corners = [around[place] for place in ((0, 0), (0, 2), (2, 0), (2, 2))]
    # Minimum and maximum pair by pair: stacking the nine neighbours would copy the picture nine times, and takes
    # several times as long.
    lowest = reduce(torch.minimum, cross).clamp(min=0) + reduce(torch.minimum, corners).clamp(min=0)
    highest = reduce(torch.maximum, cross).clamp(max=1) + reduce(torch.maximum, corners).clamp(max=1)
    headroom = (torch.minimum(lowest, 2 - highest) / highest).sqrt()
    gain = -headroom * (1 / 8 + amount * (1 / 5 - 1 / 8))
    sharp = (sum(sides) * gain + middle) / (1 + 4 * gain)
    return sharp.nan_to_num().clamp(0, 1).permute(0, 2, 3, 1).contiguous()


def prepare_for_encoder(images: Tensor, size: int, filter: str, position: str, sharpening: float = 0.0) -> Tensor:
    """Square pictures (n, size, size, c) of pictures (n, h, w, c), cropped at a `position` of SQUARES or padded.

    `filter` is the name of one of Pillow's filters, `sharpening` the amount (0 to 1) of contrast-adaptive sharpening.
    """
    if position == PAD and max(images.shape[1:3]) > LONG * min(images.shape[1:3]):
        height, width = (max(1, round(side * size / max(images.shape[1:3]))) for side in images.shape[1:3])
        images = resize(images, height, width, filter)  # before padding: the square of a long strip would be huge
    square = pad_to_square(images) if position == PAD else crop_to_square(images, position)
    resized = resize(square, size, size, filter)
    return sharpen(resized, sharpening) if sharpening > 0 else resized

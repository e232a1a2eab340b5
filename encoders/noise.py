"""Noisy pictures, for the negative image prompt. Pictures are (n, height, width, 3), floats from 0 to 1.

All random numbers come from torch generators with their own seeds, so torch's global generator does not advance.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, grid_sample, pad

from ..ipadapter.checks import colours_of
from .pictures import center_crop, resize_smoothly

SIZE = 224
# Saved workflows depend on the numbers below: other numbers give other pictures.
DISTORTION = 75.0  # pixels: largest displacement in an elastic distortion, before the smoothing
SMOOTHNESS = 3.5  # pixels: largest standard deviation of the Gaussian that smooths displacements
GRAIN = 0.75  # standard deviation of the grain on a shuffled picture at strength 1, for values in 0..1
FAINTEST, SPREAD = 0.05, 0.25  # the noise on a contrast copy has the standard deviation FAINTEST + SPREAD * (1 - noise)
SEEDS = 1_000_000_007


def gaussian_blur(planes: Tensor, size: int, sigma: float) -> Tensor:
    """Blur planes (n, c, h, w) with a Gaussian kernel of odd `size` and standard deviation `sigma`, both in pixels.

    Planes are padded by reflection, so their sides must be longer than size // 2.
    """
    offsets = torch.arange(size, dtype=torch.float32, device=planes.device) - size // 2
    line = (-0.5 * (offsets / sigma).square()).softmax(0)
    kernel = torch.outer(line, line).to(planes).expand(planes.shape[1], 1, size, size)
    edge = size // 2
    return conv2d(pad(planes, (edge, edge, edge, edge), mode="reflect"), kernel, groups=planes.shape[1])


def blurred(images: Tensor, size: int) -> Tensor:
    """Blur pictures (n, h, w, c) with a Gaussian kernel of `size` pixels, plus 1 if `size` is even.

    The standard deviation is OpenCV's for a kernel of this size: 0.3 * ((size - 1) / 2 - 1) + 0.8.
    """
    size += 1 - size % 2
    return gaussian_blur(images.permute(0, 3, 1, 2), size, 0.15 * size + 0.35).permute(0, 2, 3, 1)


def elastic(planes: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Elastic distortion (Simard et al., 2003) of planes (n, c, h, w): smooth random displacements of all pixels.

    `sigma` is the standard deviation of the smoothing in pixels. Pixels from outside the picture are black.
    """
    height, width = planes.shape[-2:]

    def shift(length: int) -> Tensor:
        field = torch.rand((1, 1, height, width), generator=generator) * 2 - 1
        size = int(8 * sigma + 1)
        smooth = gaussian_blur(field, size + 1 - size % 2, sigma) if sigma > 0 else field
        return smooth[0, 0] * DISTORTION / length

    moves = torch.stack((shift(height), shift(width)), -1)
    rows, columns = (torch.linspace((1 - side) / side, (side - 1) / side, side) for side in (height, width))
    still = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    grid = (still + moves).unsqueeze(0).expand(len(planes), -1, -1, -1)
    framed = torch.cat((planes, torch.ones_like(planes[:, :1])), 1)
    moved = grid_sample(framed, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved[:, :-1] * moved[:, -1:]


def scrambled(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Distort pictures (n, h, w, c) and rotate them by 180 degrees: colours stay, content becomes unrecognisable."""
    planes = elastic(images.permute(0, 3, 1, 2), sigma, generator)
    torch.rand(2, generator=generator)  # the original code drew a number for each flip; the sequence must match
    return planes.flip(-2).flip(-1).permute(0, 2, 3, 1)


def fade(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Pictures (n, h, w, c) blended with uniform noise: strength 0 is the picture, 1 is noise."""
    return images * (1 - strength) + torch.rand(images.shape, generator=generator) * strength


def dissolve(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Replace each value of pictures (n, h, w, c) by uniform noise with the probability `strength`."""
    replaced = torch.rand(images.shape, generator=generator) < strength
    return torch.where(replaced, torch.rand(images.shape, generator=generator), images)


def gaussian(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Pictures (n, h, w, c) plus normal noise with `strength` as its standard deviation; not clamped."""
    return images + torch.randn(images.shape, generator=generator) * strength


def shuffle(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Distort pictures (n, h, w, c), rotate them by 180 degrees and add grain by `strength` (0 to 1); not clamped."""
    turned = scrambled(images, SMOOTHNESS * (1 - strength), generator)
    noise = torch.randn(images.shape, generator=generator) * (strength * GRAIN)
    return turned * (1 - noise) + noise


NOISES: dict[str, Callable[[Tensor, float, Generator], Tensor]] = {
    "fade": fade,
    "dissolve": dissolve,
    "gaussian": gaussian,
    "shuffle": shuffle,
}


def squared(images: Tensor) -> Tensor:
    """The middle square of pictures (n, h, w, 1, 3 or 4) at 224 x 224, (n, 224, 224, 3), on the CPU."""
    side = min(images.shape[1:3])
    return resize_smoothly(center_crop(colours_of(images).cpu(), side, side), SIZE, SIZE).contiguous()


def noisy(kind: str, strength: float, blur: int = 0, images: Tensor | None = None) -> Tensor:
    """Pictures (n, h, w, 1, 3 or 4) with noise, or noise on black without pictures: (n, 224, 224, 3) in 0..1.

    `kind` is a key of NOISES, `strength` 0 to 1, `blur` a kernel size in pixels (0: no blur). The seed follows from the
    pictures, so equal pictures get equal noise.
    """
    base = torch.zeros(1, SIZE, SIZE, 3) if images is None else squared(images)
    generator = Generator().manual_seed(int(base.sum()) % SEEDS)
    noise = NOISES[kind](base, strength, generator).clamp(0, 1)
    return blurred(noise, blur).clamp(0, 1) if blur > 0 else noise


def contrast_copy(images: Tensor, noise: float) -> Tensor:
    """The noisy copy (n, 224, 224, 3) of a reference that the first apply nodes used as negative prompt; not clamped.

    `noise` is above 0 and at most 1; a smaller `noise` gives a noisier copy.

    Raises:
        ValueError: `noise` is outside these limits.
    """
    if not 0 < noise <= 1:
        raise ValueError(f"noise is above 0 and at most 1; got {noise}")
    generator = Generator().manual_seed(0)
    turned = scrambled(squared(images), SMOOTHNESS * noise, generator)
    spread = SPREAD * (1 - noise) + FAINTEST
    return turned + torch.randn(turned.shape, generator=generator) * spread

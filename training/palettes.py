"""Palettes of three colours, drawn in OKLab, in which distances follow the perceived difference of colours."""

import numpy as np
import torch
from torch import Tensor

# OKLab (Ottosson 2020, https://bottosson.github.io/posts/oklab): equal distances look about equally far apart.
TO_CONES = torch.tensor(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
TO_LAB = torch.tensor(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip
FIGURE_APART = 0.28  # least distance of a figure from its ground and its details
GROUND_APART = 0.16  # least distance of a texture from its ground


def to_oklab(colours: Tensor) -> Tensor:
    """sRGB in 0..1, (..., 3), as OKLab, (..., 3)."""
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return (linear @ TO_CONES.T).clamp_min(0) ** (1 / 3) @ TO_LAB.T


def to_srgb(lab: Tensor) -> Tensor:
    """OKLab, (..., 3), as sRGB, (..., 3); colours outside the sRGB gamut are outside 0..1."""
    linear = (lab @ TO_LAB.inverse().T) ** 3 @ TO_CONES.inverse().T
    bright = 1.055 * linear.clamp_min(0) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, bright)


def draw_palettes(count: int, rng: np.random.Generator) -> Tensor:
    """Palettes (count, 3, 3) in sRGB: ground, figure, accent, at the distances that make them distinguishable."""
    kept: list[Tensor] = []
    while sum(map(len, kept)) < count:
        lightness = torch.from_numpy(rng.uniform(0.25, 0.95, (4 * count, 3)))
        chroma = torch.from_numpy(rng.uniform(0.03, 0.24, (4 * count, 3)))
        hue = torch.from_numpy(rng.uniform(0, 2 * np.pi, (4 * count, 3)))
        lab = torch.stack((lightness, chroma * hue.cos(), chroma * hue.sin()), dim=-1).float()
        colours = to_srgb(lab)
        ground, figure, accent = lab.unbind(1)
        apart = torch.stack([(figure - ground).norm(dim=-1), (figure - accent).norm(dim=-1)]).amin(0) > FIGURE_APART
        apart &= (ground - accent).norm(dim=-1) > GROUND_APART
        shown = ((colours >= 0) & (colours <= 1)).flatten(1).all(1)
        kept.append(colours[apart & shown])
    return torch.cat(kept)[:count]

"""Textures of curved lines, for training.

Concentric circles are not among them: they are a held-out texture of the measurements.
"""

import math

import numpy as np
from PIL import ImageDraw

from .textures import Texture, along, around, bands, shapes


def spirals(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = around(size, rng)
    arms = int(rng.integers(2, 5)) * rng.choice([-1, 1])
    return bands(np.hypot(x, y) * rng.uniform(4, 6) + arms * np.arctan2(y, x) / (2 * math.pi), 1, 0.42, rng.random())


def hexagons(size: int, rng: np.random.Generator) -> np.ndarray:
    """Concentric hexagons."""
    x, y = around(size, rng)
    turn = rng.uniform(0, math.pi / 3)
    apart = [np.abs(x * math.cos(turn + a) + y * math.sin(turn + a)) for a in np.arange(3) * math.pi / 3]
    return bands(np.maximum.reduce(apart), rng.uniform(5, 7), 0.42, rng.random())


def cracks(size: int, rng: np.random.Generator) -> np.ndarray:
    """Lines at equal distance from the two nearest of 30 random points (Worley 1996)."""
    y, x = np.mgrid[:size, :size][..., None] / size
    apart = np.sort(np.hypot(x - rng.random(30), y - rng.random(30)), axis=-1)
    return (apart[..., 1] - apart[..., 0] < 0.045).astype(np.float32)


def bubbles(size: int, rng: np.random.Generator) -> np.ndarray:
    def draw(mask: ImageDraw.ImageDraw) -> None:
        places, radii = rng.random((20, 2)) * size, rng.uniform(0.06, 0.12, 20) * size
        for (x, y), radius in zip(places, radii, strict=True):
            mask.ellipse([x - radius, y - radius, x + radius, y + radius], outline=255, width=round(size * 0.035))

    return shapes(size, draw)


def grain(size: int, rng: np.random.Generator) -> np.ndarray:
    """Bands that bend as in wood."""
    turn = rng.choice([0, math.pi / 2])
    hills = sum(
        np.cos(2 * math.pi * (along(size, rng.uniform(0, 2 * math.pi)) * rng.uniform(0.8, 2) + rng.random()))
        for _ in range(3)
    )
    return bands(along(size, turn) + 0.05 * hills, rng.uniform(5, 7), 0.42, rng.random())


def ripples(size: int, rng: np.random.Generator) -> np.ndarray:
    """The interference of two circular waves."""
    far = np.stack([np.hypot(*around(size, rng)) for _ in range(2)])
    waves = np.cos(2 * math.pi * rng.uniform(4, 6) * far)
    return (waves.sum(0) > 0.5).astype(np.float32)


CURVES: dict[str, Texture] = {
    "spirals": spirals, "hexagons": hexagons, "cracks": cracks, "bubbles": bubbles, "grain": grain, "ripples": ripples,
}  # fmt: skip

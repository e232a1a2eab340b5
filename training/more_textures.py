"""More textures for training: with many textures the models have to follow the reference, and cannot memorise them.

Checks and rings are not among them: they are the held-out textures of the measurements.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from .curves import CURVES
from .textures import Texture, along, around, bands, shapes, shifted_rows
from .tilings import TILINGS


def _turned(size: int, rng: np.random.Generator, angles: Sequence[float] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of each pixel along and across a random direction, or a random direction of `angles`."""
    angle = rng.choice(angles) if angles else rng.uniform(0, math.pi)
    return along(size, angle), along(size, angle + math.pi / 2)


def _cells(size: int, rng: np.random.Generator, count: float, angles: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of each pixel in its cell of a grid, -0.5..0.5 in both directions."""
    x, y = (one * count + rng.random() for one in _turned(size, rng, angles))
    return x % 1 - 0.5, y % 1 - 0.5


def zigzag(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _turned(size, rng, [0, math.pi / 2])
    bend = 0.16 * np.abs((x * rng.uniform(3, 5) + rng.random()) % 1 - 0.5)
    return bands(y + bend, rng.uniform(5, 7), 0.42, rng.random())


def crosses(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = map(np.abs, _cells(size, rng, rng.uniform(4, 6), [0, math.pi / 4]))
    return (((x < 0.1) & (y < 0.36)) | ((y < 0.1) & (x < 0.36))).astype(np.float32)


def squares(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = map(np.abs, _cells(size, rng, rng.uniform(4, 6), [0, math.pi / 4]))
    return ((x < 0.27) & (y < 0.27)).astype(np.float32)


def triangles(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _cells(size, rng, rng.uniform(4, 5.5), [0, math.pi / 2])
    return (np.abs(x) < 0.45 * (y + 0.5)).astype(np.float32)


def scales(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = shifted_rows(size, rng, rng.uniform(4, 5.5), 1)
    return (np.abs(np.hypot(x - 0.5, y) - 0.42) < 0.1).astype(np.float32)


def plaid(size: int, rng: np.random.Generator) -> np.ndarray:
    lines = [bands(one, rng.uniform(3, 4.5), 0.5, rng.random()) for one in _turned(size, rng, [0, math.pi / 4])]
    return (lines[0] + lines[1]) / 2


def spots(size: int, rng: np.random.Generator) -> np.ndarray:
    def draw(mask: ImageDraw.ImageDraw) -> None:
        places, radii = rng.random((22, 2)) * size, rng.uniform(0.03, 0.09, 22) * size
        for (x, y), radius in zip(places, radii, strict=True):
            mask.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)

    return shapes(size, draw)


def rays(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = around(size, rng)
    return bands(np.arctan2(y, x) / (2 * math.pi), int(rng.integers(9, 15)), 0.45, rng.random())


def frames(size: int, rng: np.random.Generator) -> np.ndarray:
    middle, (x, y) = rng.uniform(-0.2, 0.2, 2), _turned(size, rng, [0, math.pi / 4])
    apart = np.maximum(np.abs(x - x.mean() - middle[0]), np.abs(y - y.mean() - middle[1]))
    return bands(apart, rng.uniform(5, 7), 0.4, rng.random())


def weave(size: int, rng: np.random.Generator) -> np.ndarray:
    count = rng.uniform(6, 8.4)
    x, y = (along(size, i * math.pi / 2) * count + rng.random() for i in range(2))
    over = (np.floor(x) + np.floor(y)) % 2 < 1
    return np.where(over, (x * 2.5) % 1 < 0.4, (y * 2.5) % 1 < 0.4).astype(np.float32)


def honeycomb(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = shifted_rows(size, rng, rng.uniform(4, 5.5), 1.15)
    return (np.hypot(x - 0.5, y - 0.5) > 0.4).astype(np.float32)


def blotches(size: int, rng: np.random.Generator) -> np.ndarray:
    hills = np.zeros((size, size))
    for _ in range(9):
        slope, count = along(size, rng.uniform(0, 2 * math.pi)), rng.uniform(3, 6)
        hills += np.cos(2 * math.pi * (count * slope + rng.random()))
    return (hills > 0.6).astype(np.float32)


def halftone(size: int, rng: np.random.Generator) -> np.ndarray:
    slope = along(size, rng.uniform(0, 2 * math.pi))
    slope = (slope - slope.min()) / (slope.max() - slope.min())
    x, y = _cells(size, rng, rng.uniform(5, 7), [0])
    return (np.hypot(x, y) < 0.1 + 0.38 * slope).astype(np.float32)


def arcs(size: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _turned(size, rng)
    bend = rng.uniform(0.5, 1.1) * (x - x.mean()) ** 2
    return bands(y + bend, rng.uniform(5, 7), 0.42, rng.random())


MORE_TEXTURES: dict[str, Texture] = {
    "zigzag": zigzag, "crosses": crosses, "squares": squares, "triangles": triangles, "scales": scales,
    "plaid": plaid, "spots": spots, "rays": rays, "frames": frames, "weave": weave, "honeycomb": honeycomb,
    "blotches": blotches, "halftone": halftone, "arcs": arcs, **TILINGS, **CURVES,
}  # fmt: skip

"""Textures whose cells differ from each other, for training."""

import math

import numpy as np

from .textures import Texture, along, shifted_rows


def _grid(size: int, rng: np.random.Generator, count: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of each pixel in its square cell, 0..1, and a random number of the cell, 0..1."""
    x, y = (along(size, angle) * count + rng.random() for angle in (0, math.pi / 2))
    drawn = rng.random((16, 16))
    return x % 1, y % 1, drawn[np.floor(y).astype(int), np.floor(x).astype(int)]


def tiles(size: int, rng: np.random.Generator) -> np.ndarray:
    """Triangles that point up, between triangles that point down."""
    x, y = shifted_rows(size, rng, rng.uniform(4, 5.5), 1)
    return (np.abs(x - 0.5) < 0.5 * y).astype(np.float32)


def maze(size: int, rng: np.random.Generator) -> np.ndarray:
    """A diagonal in every cell, in a random direction."""
    x, y, own = _grid(size, rng, rng.uniform(5, 7))
    apart = np.where(own < 0.5, np.abs(x - y), np.abs(x + y - 1))
    return (np.minimum(apart, 0.5) < 0.22).astype(np.float32)


def truchet(size: int, rng: np.random.Generator) -> np.ndarray:
    """Two quarters of a circle in every cell, around two opposite corners (Smith 1987, after Truchet 1704)."""
    x, y, own = _grid(size, rng, rng.uniform(4, 5.5))
    x = np.where(own < 0.5, x, 1 - x)
    around = np.minimum(np.abs(np.hypot(x, y) - 0.5), np.abs(np.hypot(1 - x, 1 - y) - 0.5))
    return (around < 0.13).astype(np.float32)


def dashes(size: int, rng: np.random.Generator) -> np.ndarray:
    """Dashed lines, each with its own offset."""
    turn = rng.choice([0, math.pi / 4, math.pi / 2, 3 * math.pi / 4])
    y = along(size, turn + math.pi / 2) * rng.uniform(6, 8) + rng.random()
    moved = rng.random(64)[np.floor(y).astype(int) % 64]
    x = along(size, turn) * rng.uniform(2.5, 4) + moved
    return ((y % 1 < 0.45) & (x % 1 < 0.62)).astype(np.float32)


def shells(size: int, rng: np.random.Generator) -> np.ndarray:
    """A filled quarter of a circle in every cell, around a random corner."""
    x, y, own = _grid(size, rng, rng.uniform(4.5, 6))
    x, y = np.where(own % 0.5 < 0.25, x, 1 - x), np.where(own < 0.5, y, 1 - y)
    return (np.hypot(x, y) < 0.78).astype(np.float32)


def rungs(size: int, rng: np.random.Generator) -> np.ndarray:
    """Columns of short bars, every second one moved by half a bar."""
    x = along(size, 0) * rng.uniform(4, 5.5) + rng.random()
    y = along(size, math.pi / 2) * rng.uniform(5, 7) + rng.random() + 0.5 * (np.floor(x) % 2)
    return ((x % 1 < 0.8) & (y % 1 < 0.4)).astype(np.float32)


TILINGS: dict[str, Texture] = {
    "tiles": tiles, "maze": maze, "truchet": truchet, "dashes": dashes, "shells": shells, "rungs": rungs,
}  # fmt: skip

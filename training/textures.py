"""Textures of a picture's ground: the share of the accent colour at each pixel, 0..1."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Texture = Callable[[int, np.random.Generator], np.ndarray]  # (size, generator) -> (size, size)


def along(size: int, angle: float) -> np.ndarray:
    """The coordinate of each pixel along a direction, in sides of the picture."""
    y, x = np.mgrid[:size, :size] / size
    return x * math.cos(angle) + y * math.sin(angle)


def around(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates of each pixel from a random centre, in sides of the picture."""
    y, x = np.mgrid[:size, :size] / size - rng.uniform(0.2, 0.8, (2, 1, 1))
    return x, y


def bands(distance: np.ndarray, count: float, share: float, phase: float) -> np.ndarray:
    return ((distance * count + phase) % 1 < share).astype(np.float32)


def shapes(size: int, draw: Callable[[ImageDraw.ImageDraw], None]) -> np.ndarray:
    mask = Image.new("L", (size, size))
    draw(ImageDraw.Draw(mask))
    return np.asarray(mask, dtype=np.float32) / 255


def shifted_rows(size: int, rng: np.random.Generator, count: float, flat: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of each pixel in its cell, 0..1; every second row of cells is moved by half a cell."""
    y = along(size, math.pi / 2) * count * flat + rng.random()
    x = along(size, 0) * count + rng.random() + 0.5 * (np.floor(y) % 2)
    return x % 1, y % 1


def stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    angle = rng.choice([0, math.pi / 4, math.pi / 2, 3 * math.pi / 4])
    return bands(along(size, angle), rng.uniform(5, 8), 0.4, rng.random())


def dots(size: int, rng: np.random.Generator) -> np.ndarray:
    count, shift = rng.uniform(5, 7), rng.random(2)
    x, y = (along(size, angle) * count + s for angle, s in zip((0, math.pi / 2), shift, strict=True))
    return (np.hypot(x % 1 - 0.5, y % 1 - 0.5) < 0.34).astype(np.float32)


def waves(size: int, rng: np.random.Generator) -> np.ndarray:
    across, right = along(size, math.pi / 2), along(size, 0)
    bend = 0.035 * np.sin(2 * math.pi * (right * rng.uniform(2.5, 3.5) + rng.random()))
    return bands(across + bend, rng.uniform(5, 7), 0.42, rng.random())


def strokes(size: int, rng: np.random.Generator) -> np.ndarray:
    slope = rng.uniform(0, math.pi)

    def draw(mask: ImageDraw.ImageDraw) -> None:
        for x, y in rng.random((26, 2)) * size:
            angle, length = slope + rng.normal(0, 0.2), size * rng.uniform(0.08, 0.16)
            reach = (math.cos(angle) * length, math.sin(angle) * length)
            mask.line([x - reach[0], y - reach[1], x + reach[0], y + reach[1]], fill=255, width=round(size * 0.05))

    return shapes(size, draw)


def gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    slope = along(size, rng.uniform(0, 2 * math.pi))
    return ((slope - slope.min()) / (slope.max() - slope.min())).astype(np.float32) ** 1.5


def lattice(size: int, rng: np.random.Generator) -> np.ndarray:
    turn, count, shift = rng.choice([0, math.pi / 4]), rng.uniform(4, 6), rng.random(2)
    lines = [bands(along(size, turn + i * math.pi / 2), count, 0.22, shift[i]) for i in range(2)]
    return np.maximum(*lines)


def confetti(size: int, rng: np.random.Generator) -> np.ndarray:
    def draw(mask: ImageDraw.ImageDraw) -> None:
        for x, y in rng.random((34, 2)) * size:
            turns, radius = rng.random() * 2 * math.pi + np.arange(3) * 2 * math.pi / 3, size * 0.06
            mask.polygon([(x + radius * math.cos(t), y + radius * math.sin(t)) for t in turns], fill=255)

    return shapes(size, draw)


def bricks(size: int, rng: np.random.Generator) -> np.ndarray:
    rows = along(size, math.pi / 2) * rng.uniform(5, 6.5) + rng.random()
    columns = along(size, 0) * rng.uniform(3, 4) + 0.5 * (np.floor(rows) % 2)
    return np.maximum(rows % 1 < 0.24, columns % 1 < 0.14).astype(np.float32)


def checks(size: int, rng: np.random.Generator) -> np.ndarray:
    count, shift = rng.uniform(3, 4.5), rng.random(2)
    row, column = (np.floor(2 * (along(size, i * math.pi / 2) * count + shift[i])) for i in range(2))
    return ((row + column) % 2).astype(np.float32)


def rings(size: int, rng: np.random.Generator) -> np.ndarray:
    return bands(np.hypot(*around(size, rng)), rng.uniform(5, 7), 0.4, rng.random())


TEXTURES: dict[str, Texture] = {
    "stripes": stripes, "dots": dots, "waves": waves, "strokes": strokes,
    "gradient": gradient, "lattice": lattice, "confetti": confetti, "bricks": bricks,
}  # fmt: skip
HELD_OUT: dict[str, Texture] = {"checks": checks, "rings": rings}  # not used for training

"""Contents of pictures: for each word, a function that draws a figure and its details onto two masks."""

import math
from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

Point = tuple[float, float]
Masks = tuple[ImageDraw.ImageDraw, ImageDraw.ImageDraw]  # the figure, and the details over it
Placement = Callable[[float, float], Point]  # from the figure's own square, -1..1 with y down, to pixels


def place(size: int, rng: np.random.Generator) -> Placement:
    """A figure's position in a picture, randomly shifted, scaled and turned."""
    scale = size * rng.uniform(0.3, 0.4)
    turn = rng.uniform(-0.2, 0.2)
    x0, y0 = size / 2 + rng.uniform(-0.07, 0.07, 2) * size
    cos, sin = math.cos(turn) * scale, math.sin(turn) * scale
    return lambda x, y: (x0 + cos * x - sin * y, y0 + sin * x + cos * y)


def fill(mask: ImageDraw.ImageDraw, at: Placement, *points: Point) -> None:
    mask.polygon([at(x, y) for x, y in points], fill=255)


def disc(mask: ImageDraw.ImageDraw, at: Placement, x: float, y: float, radius: float, value: int = 255) -> None:
    corners = [at(x + radius * math.cos(a), y + radius * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 48)]
    mask.polygon(corners, fill=value)


def circle(masks: Masks, at: Placement) -> None:
    disc(masks[0], at, 0, 0, 0.9)
    disc(masks[1], at, 0, 0, 0.4)


def triangle(masks: Masks, at: Placement) -> None:
    fill(masks[0], at, (0, -1), (1, 0.8), (-1, 0.8))
    fill(masks[1], at, (0, -0.25), (0.45, 0.5), (-0.45, 0.5))


def star(masks: Masks, at: Placement) -> None:
    radii = [1.1 if i % 2 == 0 else 0.45 for i in range(10)]
    fill(masks[0], at, *((r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i, r in enumerate(radii)))


def heart(masks: Masks, at: Placement) -> None:
    angles = np.linspace(0, 2 * math.pi, 60)
    x = 16 * np.sin(angles) ** 3
    y = 13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles)
    fill(masks[0], at, *zip((x / 16).tolist(), (-y / 15).tolist(), strict=True))


def moon(masks: Masks, at: Placement) -> None:
    disc(masks[0], at, 0, 0, 1)
    disc(masks[0], at, 0.5, -0.15, 0.78, value=0)


def house(masks: Masks, at: Placement) -> None:
    fill(masks[0], at, (-0.75, -0.15), (0.75, -0.15), (0.75, 0.95), (-0.75, 0.95))
    fill(masks[0], at, (0, -1.05), (1.05, -0.12), (-1.05, -0.12))
    fill(masks[1], at, (-0.2, 0.35), (0.2, 0.35), (0.2, 0.95), (-0.2, 0.95))
    fill(masks[1], at, (0.35, 0.1), (0.62, 0.1), (0.62, 0.4), (0.35, 0.4))


def tree(masks: Masks, at: Placement) -> None:
    fill(masks[1], at, (-0.16, 0.2), (0.16, 0.2), (0.2, 1.1), (-0.2, 1.1))
    for x, y, radius in ((0, -0.55, 0.5), (-0.42, -0.1, 0.48), (0.42, -0.1, 0.48)):
        disc(masks[0], at, x, y, radius)


def fish(masks: Masks, at: Placement) -> None:
    angles = np.linspace(0, 2 * math.pi, 48)
    fill(masks[0], at, *((0.85 * math.cos(a) - 0.25, 0.5 * math.sin(a)) for a in angles))
    fill(masks[0], at, (0.4, 0), (1.1, -0.55), (1.1, 0.55))
    disc(masks[1], at, -0.65, -0.1, 0.13)


def boat(masks: Masks, at: Placement) -> None:
    fill(masks[0], at, (-1.05, 0.35), (1.05, 0.35), (0.6, 0.9), (-0.6, 0.9))
    fill(masks[0], at, (0.08, -1), (0.85, 0.2), (0.08, 0.2))
    fill(masks[1], at, (-0.08, -0.8), (-0.08, 0.2), (-0.7, 0.2))


def mountains(masks: Masks, at: Placement) -> None:
    fill(masks[0], at, (-1.9, 0.9), (-0.65, -0.6), (0.1, 0.3), (0.65, -0.25), (1.9, 0.9), (1.9, 3), (-1.9, 3))
    disc(masks[1], at, 0.55, -0.9, 0.28)


CONTENTS: dict[str, Callable[[Masks, Placement], None]] = {
    "circle": circle, "triangle": triangle, "star": star, "heart": heart, "moon": moon,
    "house": house, "tree": tree, "fish": fish, "boat": boat, "mountains": mountains,
}  # fmt: skip

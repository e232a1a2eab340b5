"""The reference pictures of the demo, in held-out styles."""

from pathlib import Path

import numpy as np
from PIL import Image

from .data import draw_held_out

# Name -> its number in the held-out set.
REFERENCES = {
    "navy on stripes": 25, "yellow on rings": 64, "red on strokes": 50, "cream on waves": 89,
    "orange on bricks": 1, "blue on checks": 59,
}  # fmt: skip


def write_references(folder: Path) -> None:
    """Draw the references as PNG files."""
    drawn = draw_held_out()
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in REFERENCES.items():
        pixels = np.ascontiguousarray(drawn.pictures[number].permute(1, 2, 0).numpy())
        Image.fromarray(pixels).save(folder / f"{name}.png", optimize=True)

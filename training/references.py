"""The pictures to follow that come with the demo: of held-out styles, which no model has seen."""

from pathlib import Path

import numpy as np
from PIL import Image

from .data import HELD_OUT_SEED, draw_data

# Name -> its number in the held-out set.
REFERENCES = {
    "yellow on dots": 54, "red on checks": 43, "navy on rings": 44, "violet on strokes": 40,
    "gold on waves": 3, "pink on bricks": 74,
}  # fmt: skip


def write_references(folder: Path) -> None:
    """Draw the references as PNG files."""
    drawn = draw_data(max(REFERENCES.values()) + 1, HELD_OUT_SEED, held_out=True)
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in REFERENCES.items():
        pixels = np.ascontiguousarray(drawn.pictures[number].permute(1, 2, 0).numpy())
        Image.fromarray(pixels).save(folder / f"{name}.png", optimize=True)

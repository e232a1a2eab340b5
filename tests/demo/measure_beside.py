"""Adapters and references without an adapter, side by side: palette, texture and content by the same judges."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from demo.judging import Judges, palette_of, percent
from demo.measure import LEFT, RIGHT
from demo.studio import Studio, Wire, following, plain, riding
from harness.client import Client

EACH = 8  # pictures per word; a riding reference takes more than twice the time of an adapter
WAYS: dict[str, tuple[Wire, str]] = {  # with the adapter that the demo's loader gives
    "no reference": (plain, "standard"),
    "adapter standard, weight 0.8": (following(), "standard"),
    "adapter plus, weight 0.8": (following(), "plus"),
    "adapter plus, weight 1": (following(1.0), "plus"),
    "Reference Attention, *all*": (riding(), "standard"),
    "Reference Attention, *late*": (riding("late"), "standard"),
    "Reference Attention, *all*, weight 0.5": (riding(weight=0.5), "standard"),
}
COLUMNS = ("nearest palette", "distance", "texture", "content of the words", "content of the reference")


def measure_beside(servers: Sequence[Client]) -> dict[str, Any]:
    """Shares in percent and distances in OKLab, of EACH pictures per word for every way, and with a mask."""
    judges = Judges(Studio(servers, each=EACH))
    studio = judges.studio
    drawn = {name: studio.draw(*way) for name, way in tqdm(WAYS.items(), desc=f"{len(studio.rows)} pictures each")}
    masked = studio.draw(riding(half="left"))
    outside = torch.stack([palette_of(picture, RIGHT) for picture in drawn["no reference"]])
    return {
        "pictures": len(studio.rows),
        "ways": {name: judged(judges, pictures) for name, pictures in drawn.items()},
        "Reference Attention, left half": {
            "inside": percent(judges.nearest(masked, studio.palettes, LEFT)),
            "outside": percent(judges.nearest(masked, outside, RIGHT)),
        },
    }


def judged(judges: Judges, pictures: Tensor) -> dict[str, float]:
    studio = judges.studio
    measures: dict[str, Callable[[], float]] = {
        "nearest palette": lambda: percent(judges.nearest(pictures, studio.palettes)),
        "distance": lambda: judges.distance(pictures, studio.palettes),
        "texture": lambda: judges.right_texture(pictures, studio.textures)["all"],
        "content of the words": lambda: judges.right_content(pictures, studio.words),
        "content of the reference": lambda: judges.right_content(pictures, studio.reference_words),
    }
    return {name: measures[name]() for name in COLUMNS}

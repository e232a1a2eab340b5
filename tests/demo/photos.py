"""Photographs as references: crops of six photos that come with the package scikit-image."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.assets import photo
from harness.demo_graph import SIZE

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg")
SEED = 13


def crops(count: int) -> Tensor:
    """Square crops (count, 3, SIZE, SIZE) in bytes, photos in turn, each half to all of its photo's shorter side."""
    rng = np.random.default_rng(SEED)
    opened = [Image.open(photo(name)).convert("RGB") for name in PHOTOS]
    return torch.stack([_crop(opened[i % len(opened)], rng) for i in range(count)])


def _crop(image: Image.Image, rng: np.random.Generator) -> Tensor:
    side = round(min(image.size) * rng.uniform(0.5, 1))
    x, y = (int(rng.integers(length - side + 1)) for length in image.size)
    small = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS, (x, y, x + side, y + side))
    return torch.from_numpy(np.array(small)).movedim(-1, 0)

"""The demo that `python atelier.py demo` runs."""

import numpy as np
from PIL import Image, ImageChops

from harness.demo import TAKES, make


def test_the_demo_writes_every_picture_and_the_mask_keeps_to_its_half(server, tmp_path):
    sheet = make(server, tmp_path)
    plain, _, _, left, *_ = (Image.open(tmp_path / f"{i} {title}.png") for i, title in enumerate(TAKES))
    moved = np.asarray(ImageChops.difference(plain, left), dtype=float)
    half = moved.shape[1] // 2
    # Self-attention carries a little of it to the right half, which is why this is no equality.
    assert moved[:, :half].mean() > 1.5 * moved[:, half:].mean() > 0
    with Image.open(sheet) as picture:
        assert picture.width > 1500

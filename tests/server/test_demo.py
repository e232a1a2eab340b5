"""The demo that `python atelier.py demo` runs."""

import numpy as np
import pytest
from PIL import Image

from harness.demo import ROWS, make


@pytest.fixture(scope="module")
def made(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    sheet = make(server, folder)
    return folder, sheet


def picture(made, row, name):
    with Image.open(made[0] / row / f"{name}.png") as opened:
        return np.asarray(opened.convert("RGB"), dtype=float)


def test_every_picture_is_written_and_they_are_not_all_the_same(made):
    total = sum(len(drawings) for _, drawings in ROWS.values())
    files = [file for file in made[0].rglob("*.png") if file.parent != made[0]]
    assert len(files) == total
    assert len({file.read_bytes() for file in files}) > 0.8 * total  # some are there twice, to compare with
    with Image.open(made[1]) as sheet:
        assert sheet.width > 1200 and sheet.height > 1500


def test_each_weight_type_is_shown():
    from pack.weight_schedules.layers import WEIGHT_TYPES

    assert list(ROWS["weight_type"][1]) == WEIGHT_TYPES


def test_weight_zero_is_words_only(made):
    assert np.array_equal(picture(made, "weight", "0"), picture(made, "Words only", "house"))


def test_a_half_mask_moves_its_own_half(made):
    plain, left, right = (picture(made, "attn_mask", name) for name in ("no reference", "left half", "right half"))
    for moved, own in ((left, slice(0, 48)), (right, slice(48, 96))):
        difference = np.abs(moved - plain).mean(axis=(0, 2))
        inside = difference[own].mean()
        # Convolutions and self-attention carry some of it across the middle, which is why this is no equality.
        assert inside > 1.5 * (difference.sum() - difference[own].sum()) / 48


def test_more_weight_moves_a_picture_further(made):
    plain = picture(made, "weight", "0")
    moved = [np.abs(picture(made, "weight", name) - plain).mean() for name in ("0", "0.25", "0.5", "0.75", "1")]
    assert moved == sorted(moved) and moved[0] == 0

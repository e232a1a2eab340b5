"""The demo that `python atelier.py demo` runs."""

import numpy as np
import pytest
import torch
from PIL import Image

from harness.demo import FIRST, ROWS, SECOND, make
from training.data import draw_held_out
from training.judges import palette_distance
from training.references import REFERENCES


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


def test_under_a_half_mask_its_own_half_is_nearer_to_the_references_colours(made):
    palettes = draw_held_out().styles.palettes
    for name, reference, own in (("left half", FIRST, slice(0, 48)), ("right half", SECOND, slice(48, 96))):
        pixels = torch.from_numpy(picture(made, "attn_mask", name)).float().movedim(-1, 0) / 255
        where = torch.zeros(96, 96, dtype=torch.bool)
        where[:, own] = True
        palette = palettes[REFERENCES[reference]][None]
        assert palette_distance(pixels, palette, where) < 0.8 * palette_distance(pixels, palette, ~where)


def test_more_weight_moves_a_picture_further(made):
    plain = picture(made, "weight", "0")
    moved = [np.abs(picture(made, "weight", name) - plain).mean() for name in ("0", "0.25", "0.5", "0.75", "1")]
    assert moved == sorted(moved) and moved[0] == 0

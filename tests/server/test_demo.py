"""The demo that `python atelier.py demo` runs."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from demo.studio import held_out
from harness import demo
from harness.demo import FIRST, FIRST_WORD, REMARKS, ROWS, SECOND, make
from harness.demo_graph import SAMPLER
from harness.demo_sheet import ENLARGED, HEAD, LABEL, MARGIN, TILE
from training.judges import palette_distance
from training.references import REFERENCES


@pytest.fixture(scope="module")
def made(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SAMPLER, "steps", 4)  # a quarter of them draw less cleanly, and follow as well
        return folder, make(server, folder)


def picture(made, row, name):
    with Image.open(made[0] / row / f"{name}.png") as opened:
        return np.asarray(opened.convert("RGB"), dtype=float)


def test_every_picture_is_written_and_they_are_not_all_the_same(made):
    total = sum(len(drawings) for _, drawings in ROWS.values())
    files = [file for file in made[0].rglob("*.png") if file.parent != made[0]]
    assert len(files) == total
    assert len({file.read_bytes() for file in files}) > 0.8 * total  # some are there twice, to compare with
    with Image.open(made[1]) as sheet, Image.open(made[0] / "story.png") as story:
        assert sheet.width > 1200 and sheet.height > 1500
        assert story.width < 900  # so that README shows it pixel by pixel


def test_pixels_of_pictures_are_sharp_squares_on_the_sheets(made):
    drawn = picture(made, "Words", FIRST_WORD)
    with Image.open(made[0] / "story.png") as story:
        pixels = np.asarray(story.convert("RGB"), dtype=float)
    enlarged = drawn.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    top, left = HEAD + MARGIN // 2 + LABEL, MARGIN
    assert np.array_equal(pixels[top : top + TILE, left : left + TILE], enlarged)


def test_a_picture_that_shows_a_failure_says_so_on_the_sheet():
    assert REMARKS.keys() <= {name for _, drawings in ROWS.values() for name in drawings}


def test_each_weight_type_is_shown():
    from pack.weight_schedules.layers import WEIGHT_TYPES

    assert list(ROWS["weight_type"][1]) == WEIGHT_TYPES


def test_weight_zero_is_words_only(made):
    assert np.array_equal(picture(made, "weight", "0"), picture(made, "Words", FIRST_WORD))


@pytest.mark.parametrize("name", ["both", "both, fish"])
def test_each_half_has_the_colours_of_its_own_reference(made, name):
    known = held_out().styles.palettes
    palettes = known[[REFERENCES[FIRST], REFERENCES[SECOND]]]
    pixels = torch.from_numpy(picture(made, "A reference in a region", name)).float().movedim(-1, 0) / 255
    left = (torch.arange(96) < 48).expand(96, -1)
    assert palette_distance(pixels, palettes, left).argmin() == 0
    assert palette_distance(pixels, palettes, ~left).argmin() == 1


def test_more_weight_moves_a_picture_further(made):
    plain = picture(made, "weight", "0")
    moved = [np.abs(picture(made, "weight", name) - plain).mean() for name in ("0", "0.25", "0.5", "0.75", "1")]
    assert moved == sorted(moved) and moved[0] == 0


def test_a_server_that_does_not_start_is_said_in_one_line_and_its_log_stays(monkeypatch, tmp_path):
    started = demo.LoggedServer
    monkeypatch.setattr(demo, "LoggedServer", lambda: started("--no-such-flag"))
    monkeypatch.setattr(demo, "LOG", tmp_path / "comfyui.log")
    monkeypatch.setattr(sys, "argv", ["demo"])
    with pytest.raises(SystemExit) as end:
        demo.main()
    assert str(end.value).startswith("[demo] ComfyUI stopped with code 2. Run it again")
    assert "\n" not in str(end.value) and str(demo.LOG) in str(end.value)
    assert "--no-such-flag" in demo.LOG.read_text("utf-8")

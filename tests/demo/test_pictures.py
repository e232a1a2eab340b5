"""Pictures follow their references: 200 of each kind, in styles that no model was trained on.

`python atelier.py bench --only pictures` measures the same with 16 steps; here it is 8, which saves time. A share of
200 pictures is uncertain by about 3 points, and steps cost some more, so SLACK points are left under what the bench
measured (demo_models/measured.json). Where that is more than was asked of the models, what was asked is asserted.
"""

import json

import pytest

from demo.measure import Studio, measure
from harness.host import ROOT

SLACK = 8
BENCH = json.loads((ROOT / "demo_models" / "measured.json").read_text())


@pytest.fixture(scope="module")
def measured(server, start_server):
    return measure(Studio([server, start_server("--disable-metadata")], steps=8))


def least(asked: float, *path: str) -> float:
    """What was asked, or SLACK under what was reached where that is less."""
    reached = BENCH
    for key in path:
        reached = reached[key]
    return min(asked, reached - SLACK)


@pytest.mark.parametrize("variant", ["standard", "plus"])
def test_colours_are_the_references(measured, variant):
    assert measured["pictures"] >= 200
    assert measured["nearest palette"][variant] >= least(90, "nearest palette", variant) >= 75
    assert measured["nearest palette"]["no adapter"] < 30  # by chance 12.5


@pytest.mark.parametrize("variant", ["standard", "plus"])
def test_content_still_follows_the_words(measured, variant):
    assert measured["classifier on drawn pictures"] >= 97
    assert measured["content"][variant] >= 85


def test_the_palette_comes_nearer_with_the_weight_until_it_is_there(measured):
    """From 0.6 on it is as near as it comes: guidance makes colours stronger than the reference's."""
    distance = measured["distance by weight"]
    assert distance["0.0"] > distance["0.4"] > distance["0.8"]
    assert distance["1.0"] < 1.05 * distance["0.8"]


def test_a_mask_keeps_the_reference_inside(measured):
    assert measured["left half"]["inside"] >= least(90, "left half", "inside") >= 60
    assert measured["left half"]["outside"] >= least(90, "left half", "outside") >= 45


def test_two_references_share_a_picture(measured):
    """By chance: 1.6 %."""
    assert measured["two halves"]["both match"] >= least(85, "two halves", "both match") >= 45


def test_plus_comes_nearer_than_standard(measured):
    assert measured["distance"]["plus"] < measured["distance"]["standard"]

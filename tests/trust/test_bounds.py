"""Nothing that a widget allows or a text says takes more time or memory than it is worth, and nothing leaks in."""

import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont
from torch.overrides import TorchFunctionMode

from pack.charts.sheets import _shorten, contact_sheet
from pack.encoders.encoder import crop
from pack.encoders.face_boxes import faces_from_boxes
from pack.encoders.face_crops import box_crop
from pack.encoders.pictures import LONG, center_crop, prepare_for_encoder, shorten
from pack.encoders.tiles import cut_legacy, cut_reference
from pack.ipadapter.errors import FaceError
from pack.masks.regions import soften, split_by_colour, split_canvas
from pack.nodes.weights import IPAdapterWeights
from pack.weight_schedules.layers import WEIGHT_TYPES
from pack.weight_schedules.schedule import DEEPEST, CombinedSchedule, WeightSchedule
from pack.weight_schedules.schedule_json import from_json, to_json

SDXL = tuple(("input", n) for n in (4, 5, 7, 8)) + (("middle", 0),) + tuple(("output", n) for n in range(6))


def combined(depth: int) -> WeightSchedule | CombinedSchedule:
    schedule = WeightSchedule(WEIGHT_TYPES[1])
    for _ in range(depth):
        schedule = CombinedSchedule("add", schedule, schedule, 0.5)
    return schedule


def test_a_schedule_combined_with_itself_is_asked_once_for_both():
    resolved = combined(11).resolve(SDXL)
    start = time.perf_counter()
    for step in range(100):
        assert resolved.at(step / 100) == pytest.approx(combined(0).resolve(SDXL).at(step / 100))
    assert time.perf_counter() - start < 5  # 2 ** 11 times as long a way, walked for every part, takes 60


def test_a_schedule_of_too_many_parts_is_refused_and_says_why():
    with pytest.raises(ValueError, match="8191 parts, 12 deep"):
        combined(12)
    deep = combined(0)
    with pytest.raises(ValueError, match=f"at most 4096 parts and {DEEPEST} deep"):
        for _ in range(DEEPEST + 1):
            deep = CombinedSchedule("max", deep, WeightSchedule())
    assert from_json(to_json(deep)).resolve(SDXL).at(0.5) == deep.resolve(SDXL).at(0.5)


@pytest.mark.parametrize("deep", [65, 500, 100_000])
def test_json_that_is_nested_too_deeply_is_refused(deep):
    inner = '{"method": "add", "first": {}, "second": ' * deep + "{}" + "}" * deep
    with pytest.raises(ValueError, match="This text is not a weight schedule"):
        from_json(f'{{"version": 1, "schedule": {inner}}}')


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("place", ['"scale": {}', '"frames": [{}]', '"steps": {{"points": [[{}, 1]]}}', '"boost": -{}'])
def test_json_numbers_without_an_end_are_refused(digits, place):
    with pytest.raises(ValueError, match="This text is not a weight schedule") as error:
        from_json(f'{{"version": 1, "schedule": {{{place.format("9" * digits)}}}}}')
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["w", "i", "\u200b", "ffi", "模"])
def test_a_caption_of_a_million_letters_is_shortened_at_once_and_to_the_same(text):
    font = ImageFont.load_default(12)
    start = time.perf_counter()
    short = _shorten(text * 1_000_000, 12, 200)
    assert time.perf_counter() - start < 2
    assert short.endswith("...") and len(short) <= 203
    if text != "\u200b":  # letters of no width are cut by their number
        assert font.getlength(short) <= 200 < font.getlength(short[:-3] + text * 2 + "...")


def test_a_caption_that_fits_stays_whole():
    assert _shorten("a cat", 12, 200) == "a cat"
    assert contact_sheet([Image.new("RGB", (8, 8))], ["x" * 10**6], cell=64).size[0] < 100


class Watching(TorchFunctionMode):
    """Remembers how many numbers the largest tensor had that any operation gave."""

    most = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.most = max(self.most, out.numel() if isinstance(out, torch.Tensor) else 0)
        return out


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (2, 16384)])
def test_a_picture_that_is_a_line_is_cut_before_it_is_resized(shape):
    images = torch.rand(1, *shape, 3)
    with Watching() as watching:
        assert crop(images, 224).shape == (1, 224, 224, 3)
        assert len(cut_reference(images, torch.ones(1, *shape))) == 4
        assert len(cut_legacy(images, 1, 1.0)) == LONG
        assert prepare_for_encoder(images, 224, "LANCZOS", "pad").shape == (1, 224, 224, 3)
    assert watching.most < 3 * LONG * 256**2 * 2  # 5000 x 224 x 224 would be 750 million numbers


def test_pictures_of_usual_shapes_are_not_cut():
    for height, width in ((64, 64), (100, 7), (1, LONG)):
        images = torch.rand(2, height, width, 3)
        assert shorten(images).equal(images)
    assert shorten(torch.rand(1, 3, 1000, 3)).shape == (1, 3, 3 * LONG, 3)
    line = torch.arange(1000.0).view(1, 1, 1000)
    assert shorten(line).equal(center_crop(line, 1, LONG))


def test_regions_that_would_fill_the_memory_are_refused_with_their_size():
    with pytest.raises(ValueError, match="4096 regions of 1024 x 1024 pixels would take 16 GiB"):
        split_canvas([1.0] * 64, [1.0] * 64, 1024, 1024)
    colours = [(n / 64, 0.0, 0.0) for n in range(64)]
    with pytest.raises(ValueError, match="64 regions"):
        split_by_colour(torch.rand(4, 4, 3), 16384, 16384, colours)


def test_references_of_frames_are_counted_before_they_are_repeated():
    reference = torch.zeros(1, 1024, 1024, 3)
    with pytest.raises(ValueError, match="9999 references of 1024 x 1024 pixels.* would take 117 GiB, and 8 is the"):
        IPAdapterWeights.execute(weights="1.0, 0.0", timing="linear", frames=9999, image=reference)


def test_many_soft_regions_are_those_of_one_at_a_time():
    regions = split_canvas([1.0, 2.0], [1.0, 1.0], 32, 24)
    soft = soften(regions, 0.4)
    assert soft.equal(torch.cat([soften(region[None], 0.4) for region in regions]))
    torch.testing.assert_close(soft.sum(0), torch.ones(32, 24))  # rounding of a blur's sums


WRONG_BOXES = (
    {}, {"x": 1}, {"x": 0, "y": 0, "width": float("nan"), "height": 4}, {"x": 0, "y": 0, "width": -3, "height": 4},
    {"x": 0, "y": 0, "width": 1e9, "height": 1e9}, {"x": "a", "y": 0, "width": 2, "height": 4}, 7, None, "box",
    {"x": 0, "y": 0, "width": 10**400, "height": 4},
)  # fmt: skip


@pytest.mark.parametrize("box", WRONG_BOXES, ids=str)
def test_boxes_that_are_none_are_refused(box):
    with pytest.raises(FaceError) as error:
        faces_from_boxes([[box]], 1)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("box", [(40, 0, 60, 20), (-30, -30, -1, -1), (-3000, -3000, 3000, 3000)])
def test_a_box_of_another_picture_is_refused(box):
    with pytest.raises(FaceError, match="is no face's in a picture of 32 x 32"):
        box_crop(np.zeros((32, 32, 3), np.uint8), np.array(box, float), 16)

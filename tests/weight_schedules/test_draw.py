import numpy as np
import pytest
from PIL import Image

from pack.weight_schedules.draw import UP, colours_of, draw_schedule
from pack.weight_schedules.schedule import CombinedSchedule, WeightSchedule
from pack.weight_schedules.sheets import contact_sheet, labelled_grid
from pack.weight_schedules.steps import StepCurve

from .test_layers import PRUNED, blocks_of

SCHEDULES = {
    "sdxl": CombinedSchedule(
        "composition from second",
        WeightSchedule("ease in", StepCurve("cosine down"), scale=1.5),
        WeightSchedule(steps=StepCurve("linear up", low=-0.5)),
    ),
    "sd15": WeightSchedule("style and composition", StepCurve("ease in-out")),
}


@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_every_cell_has_the_colour_of_its_weight(family, steps):
    blocks = blocks_of(family)
    schedule = SCHEDULES[family].resolve(blocks)
    percents = [step / steps for step in range(steps)]
    drawn = draw_schedule(schedule, blocks, percents)
    left, top, right, bottom = drawn.box
    for column, percent in enumerate(percents):
        for layer, weight in enumerate(schedule.at(percent)):
            x = left + (right - left) * (column + 0.5) / steps
            y = top + (bottom - top) * (layer + 0.5) / len(blocks)
            assert drawn.picture.getpixel((round(x), round(y))) == tuple(colours_of(np.array(weight), drawn.top))


def test_without_steps_the_columns_run_over_the_whole_of_sampling():
    blocks = blocks_of("sdxl")
    schedule = WeightSchedule("all", StepCurve("linear up"))
    drawn = draw_schedule(schedule.resolve(blocks), blocks)
    left, top, right, _ = drawn.box
    pixels = [drawn.picture.getpixel((x, top + 20)) for x in (left, (left + right) // 2, right - 1)]
    expected = colours_of(np.array([0.5, 180.5, 359.5]) / 360, 1.0)
    assert pixels == [tuple(colour) for colour in expected]


def test_brightness_grows_with_the_weight_in_both_directions():
    luma = np.array([0.299, 0.587, 0.114])
    for sign in (1, -1):
        brightness = colours_of(sign * np.linspace(0, 2, 50), 2.0) @ luma
        assert (np.diff(brightness) > 0).all()
    assert tuple(colours_of(np.array(0.0), 1.0)) == tuple(UP[0])


def test_a_pruned_model_and_no_steps():
    assert draw_schedule(WeightSchedule().resolve(PRUNED), PRUNED).weights.shape == (3, 360)
    with pytest.raises(ValueError, match="list of sigmas is empty"):
        draw_schedule(WeightSchedule().resolve(PRUNED), PRUNED, [])


def test_a_contact_sheet_shows_every_picture_in_reading_order():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    pictures = [Image.new("RGB", (64, 32), colour) for colour in colours]
    sheet = np.asarray(contact_sheet(pictures, ["a", "b"], columns=2, title="t", cell=64))
    places = [np.argwhere((sheet == colour).all(-1)) for colour in colours]
    assert [len(place) for place in places] == [64 * 32] * 5
    corners = [tuple(place.min(0)) for place in places]
    assert corners == sorted(corners) and len({x for _, x in corners}) == 2 and len({y for y, _ in corners}) == 3


def test_a_grid_has_its_names_and_refuses_the_wrong_number_of_pictures():
    pictures = [Image.new("RGBA", (48, 48), (0, 0, 40 * number + 10, 255)) for number in range(6)]
    plain = labelled_grid(pictures, ["", ""], ["", "", ""], cell=48)
    named = labelled_grid(pictures, ["layer 3", "layer 6"], ["x1", "x1.5", "x2"], title="Layers", cell=48)
    assert named.width > plain.width and named.height > plain.height
    with pytest.raises(ValueError, match="2 rows and 2 columns needs 4 pictures, got 6"):
        labelled_grid(pictures, ["a", "b"], ["c", "d"])
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet([])
    with pytest.raises(ValueError, match="3 captions for 1 pictures"):
        contact_sheet(pictures[:1], ["a", "b", "c"])

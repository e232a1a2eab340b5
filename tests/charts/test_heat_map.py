"""Schedules are drawn with the weights that they have."""

import numpy as np
import pytest

from pack.charts.heat_map import BOTTOM, LEFT, RIGHT, ROW, TOP, UP, WIDE, colours_of, draw_schedule
from pack.charts.paint import UNIT
from pack.ipadapter.families import FLUX, LAYOUTS
from pack.weight_schedules.schedule import CombinedSchedule, WeightSchedule
from pack.weight_schedules.steps import StepCurve

PRUNED = [("input", 4), ("input", 7), ("output", 0)]
SCHEDULES = {
    "SDXL": CombinedSchedule(
        "composition from second",
        WeightSchedule("ease in", StepCurve("cosine down"), scale=1.5),
        WeightSchedule(steps=StepCurve("linear up", low=-0.5)),
    ),
    "SD1.5": WeightSchedule("style and composition", StepCurve("ease in-out")),
}


def pixel_of(picture, blocks, layer, across):
    """The colour in the middle of a layer's row, `across` (0 to 1) of the way from left to right."""
    assert picture.size == ((LEFT + WIDE + RIGHT) * UNIT, (TOP + ROW * len(blocks) + BOTTOM) * UNIT)
    x, y = (LEFT + WIDE * across) * UNIT, (TOP + ROW * (layer + 0.5)) * UNIT
    return picture.getpixel((round(x), round(y)))


@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("family", SCHEDULES)
def test_every_cell_has_the_colour_of_its_weight(family, steps):
    blocks = LAYOUTS[family]
    schedule = SCHEDULES[family].resolve(blocks)
    percents = [step / steps for step in range(steps)]
    picture = draw_schedule(schedule, blocks, percents)
    weights = np.array([schedule.at(percent) for percent in percents])
    colours = colours_of(weights, max(1.0, np.abs(weights).max()))
    for column in range(steps):
        for layer in range(len(blocks)):
            drawn = pixel_of(picture, blocks, layer, (column + 0.5) / steps)
            assert drawn == tuple(colours[column, layer]), (column, layer)


def test_without_steps_the_columns_run_over_the_whole_of_sampling():
    blocks = LAYOUTS["SDXL"]
    picture = draw_schedule(WeightSchedule("all", StepCurve("linear up")).resolve(blocks), blocks)
    expected = colours_of(np.array([0.5, 180.5, 359.5]) / 360, 1.0)
    drawn = [pixel_of(picture, blocks, 0, column / 360) for column in (0.5, 180.5, 359.5)]
    assert drawn == [tuple(colour) for colour in expected]


def test_brightness_grows_with_the_weight_in_both_directions():
    luma = np.array([0.299, 0.587, 0.114])
    for sign in (1, -1):
        brightness = colours_of(sign * np.linspace(0, 2, 50), 2.0) @ luma
        assert (np.diff(brightness) > 0).all()
    assert tuple(colours_of(np.array(0.0), 1.0)) == tuple(UP[0])


def test_a_pruned_model_is_drawn_and_a_run_without_steps_is_refused():
    drawn = draw_schedule(WeightSchedule("1").resolve(PRUNED), PRUNED)
    assert [pixel_of(drawn, PRUNED, layer, 0.5) == tuple(UP[0]) for layer in range(3)] == [True, False, True]
    with pytest.raises(ValueError, match="list of sigmas is empty"):
        draw_schedule(WeightSchedule().resolve(PRUNED), PRUNED, [])


def test_a_transformer_has_a_row_for_every_block():
    drawn = draw_schedule(WeightSchedule("single0:1").resolve(FLUX.blocks), FLUX.blocks)
    lit = [layer for layer in range(57) if pixel_of(drawn, FLUX.blocks, layer, 0.5) != tuple(UP[0])]
    assert lit == [19]

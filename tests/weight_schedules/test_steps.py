"""Step curves: shapes, points and the texts that name them."""

import math

import pytest

from pack.weight_schedules.steps import BETWEEN, SHAPES, StepCurve, parse_points

START_MIDDLE_END = {
    "constant": (1, 1, 1),
    "ease in": (0, 0.25, 1),
    "ease out": (1, 0.25, 0),
    "ease in-out": (0, 1, 0),
    "reverse in-out": (1, 0, 1),
    "linear up": (0, 0.5, 1),
    "linear down": (1, 0.5, 0),
    "cosine up": (0, 0.5, 1),
    "cosine down": (1, 0.5, 0),
}


def test_every_shape_has_its_ends_and_its_middle():
    assert START_MIDDLE_END.keys() == SHAPES.keys()
    for shape, expected in START_MIDDLE_END.items():
        curve = StepCurve(shape)
        # Cosines and sines of multiples of pi are off by a rounding.
        assert [curve.at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx(expected, rel=0, abs=1e-15), shape
        assert curve.constant == (shape == "constant")


def test_a_shape_stretches_over_its_range_and_keeps_its_ends_outside():
    curve = StepCurve("linear down", low=0.2, high=1.0, start=0.25, end=0.75)
    assert [curve.at(p) for p in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])


def test_a_range_without_width_is_a_jump():
    curve = StepCurve("linear up", start=0.5, end=0.5)
    assert [curve.at(p) for p in (0.0, 0.4999, 0.5, 1.0)] == [0, 0, 1, 1]


def test_a_constant_shape_is_high_in_its_range_and_low_outside():
    curve = StepCurve("constant", low=0.1, high=0.9, start=0.2, end=0.8)
    assert [curve.at(p) for p in (0.0, 0.1999, 0.2, 0.5, 0.8, 0.8001, 1.0)] == [0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1]
    assert not curve.constant
    assert StepCurve("constant", low=0.9, high=0.9, start=0.2, end=0.8).constant


def test_a_constant_shape_over_all_of_sampling_never_shows_low():
    curve = StepCurve("constant", low=0.1, high=0.9)
    assert {curve.at(p) for p in (-0.5, 0.0, 0.5, 1.0, 1.5)} == {0.9}
    assert curve.constant


def test_the_largest_weight_between_two_percents_is_the_limit_of_fine_steps():
    curves = [StepCurve(shape, low=-0.7, high=1.3, start=0.2, end=0.9) for shape in SHAPES]
    curves += [StepCurve(shape, low=1.3, high=-0.7, start=0.5, end=0.5) for shape in SHAPES]
    points = ((0.1, 0.4), (0.3, -2.0), (0.3, 0.5), (0.8, 1.0), (0.95, 0.0))
    curves += [StepCurve(points=points, between=between) for between in BETWEEN]
    wrong = []
    for curve in curves:
        for left, right in ((0.0, 1.0), (0.0, 0.25), (0.25, 0.4), (0.3, 0.75), (0.3001, 1.0), (0.6, 0.6)):
            steps = [left + (right - left) * step / 4000 for step in range(4001)]
            found, reached = curve.largest(left, right), max(abs(curve.at(percent)) for percent in steps)
            if not 0 <= found - reached < 5e-3:  # what linear points change in a step, at most
                wrong.append((curve, left, right, found, reached))
    assert not wrong


def test_curves_pass_through_their_points_and_join_them_in_three_ways():
    points = parse_points("0:1, 0.5:0.2\n1:0")
    assert points == ((0.0, 1.0), (0.5, 0.2), (1.0, 0.0))
    for between, quarter in (("linear", 0.6), ("cosine", 0.6), ("hold", 1.0)):
        curve = StepCurve(points=points, between=between)
        assert [curve.at(p) for p, _ in points] == [1.0, 0.2, 0.0]
        assert curve.at(0.25) == pytest.approx(quarter)
    eighth = 1.0 - 0.8 * (1 - math.cos(math.pi / 4)) / 2
    assert StepCurve(points=points, between="cosine").at(0.125) == pytest.approx(eighth)


def test_two_points_at_one_percent_make_a_jump():
    curve = StepCurve(points=parse_points("0:1, 0.5:1, 0.5:0, 1:0"))
    assert [curve.at(p) for p in (0.0, 0.4999, 0.5, 1.0)] == [1, 1, 0, 0]


def test_percents_below_0_and_above_1_have_the_weights_of_the_ends():
    for curve in (StepCurve("ease in"), StepCurve(points=parse_points("0.2:0, 0.8:1"))):
        assert (curve.at(-3.0), curve.at(7.0)) == (0, 1)


def test_equal_points_and_equal_ends_are_constant():
    assert StepCurve(points=((0, 0.5), (1, 0.5))).constant
    assert StepCurve("ease in", low=1.0, high=1.0).constant
    assert not StepCurve(points=((0, 0.5), (1, 0.6))).constant


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": "ease"}, "Unknown shape of a step curve 'ease'. Known: constant"),
        ({"points": ((0.5, 1), (0.2, 1))}, "rising percents"),
        ({"points": ((0.5, 1), (1.2, 1))}, "within 0 and 1"),
        ({"points": ((0.5, math.inf),)}, "finite"),
        ({"start": 0.8, "end": 0.2}, "got 0.8 to 0.2"),
        ({"between": "spline"}, "Known: linear, cosine, hold"),
    ],
)
def test_invalid_curves_are_refused_with_the_reason(settings, message):
    with pytest.raises(ValueError, match=message):
        StepCurve(**settings)


@pytest.mark.parametrize("text", ["0.5", "half:1", "0:", "0:1 0.5:1"])
def test_a_text_that_is_no_list_of_points_is_quoted(text):
    with pytest.raises(ValueError, match="is not a point of a step curve"):
        parse_points(text)

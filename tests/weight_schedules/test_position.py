"""Sampling percent and sigma are inverses of each other, between the entries of the table too."""

import math

import pytest

from pack.weight_schedules.position import SamplingPosition

PERCENTS = [0.05, 0.12345, 0.3337, 0.5005, 0.87654, 0.95]  # most lie between two entries of the table


def exponential(percent):
    """Sigma from 14.6 to 0.03, falling by the same factor in equal times."""
    return 14.6 * (0.03 / 14.6) ** percent


def straight(percent):
    """Sigma of a flow model without a shift, with the sentinels that ComfyUI's models have at both ends."""
    return {0.0: math.inf, 1.0: 0.0}.get(percent, 1.0 - percent)


def test_the_percent_of_a_sigma_is_that_of_the_host_s_function_between_the_table_s_entries():
    for percent in PERCENTS:
        # log(sigma) is a straight line here, so that the interpolation is exact but for rounding.
        assert SamplingPosition(exponential).percent(exponential(percent)) == pytest.approx(percent, rel=0, abs=1e-12)
        # log(1 - percent) bends: over an interval h it is off by up to h² / 8 / (1 - percent), 2.5e-6 at 0.95.
        assert SamplingPosition(straight).percent(straight(percent)) == pytest.approx(percent, rel=0, abs=3e-6)


def test_sigmas_beyond_both_ends_are_the_ends():
    position = SamplingPosition(straight)
    assert [position.percent(sigma) for sigma in (1e9, 1.0, 0.0)] == [0.0, 0.0, 1.0]


def test_a_range_holds_both_of_its_ends():
    position = SamplingPosition(straight)
    ends = {percent: position.active(straight(percent), 0.25, 0.75) for percent in (0.0, 0.2, 0.25, 0.5, 0.75, 0.8)}
    assert ends == {0.0: False, 0.2: False, 0.25: True, 0.5: True, 0.75: True, 0.8: False}
    assert position.active(math.inf, 0.0, 1.0) and position.active(0.0, 0.0, 1.0)

"""Where sampling stands: sigma to percent and back, for every noise schedule."""

import math

import pytest

from pack.weight_schedules.position import SamplingPosition

LARGEST, SMALLEST = 14.6, 0.03


def exponential(percent: float) -> float:
    """A schedule whose sigma falls by equal factors, with the host's sentinels at both ends."""
    if percent in (0.0, 1.0):
        return 1e9 if percent == 0.0 else 0.0
    return LARGEST * (SMALLEST / LARGEST) ** percent


def test_percent_is_the_inverse_of_the_hosts_function_between_the_entries_of_the_table_too():
    """On this schedule the logarithm of sigma is a straight line, so interpolating on it is exact."""
    position = SamplingPosition(exponential)
    percents = [0.1234567, 0.25, 0.3333333, 0.4999, 0.50037, 0.98765]
    # Two ends of the table stand 1e-7 inside of 0 and 1; without interpolation the error is up to 1e-3.
    assert [position.percent(exponential(percent)) for percent in percents] == pytest.approx(percents, abs=1e-6)


def test_percent_of_comfyuis_own_schedule_leads_back_to_its_sigma():
    sampling = pytest.importorskip("comfy.model_sampling", reason="needs ComfyUI").ModelSamplingDiscrete()
    position = SamplingPosition(sampling.percent_to_sigma)
    for sigma in (14.0, 7.1, 2.34567, 0.7, 0.11):
        again = float(sampling.percent_to_sigma(position.percent(sigma)))
        # ComfyUI interpolates log sigma between 1,000 steps, our table between others: a thousandth of a step's factor.
        assert math.log(again) == pytest.approx(math.log(sigma), abs=1e-4)


def test_sigmas_beyond_the_schedule_count_as_its_ends():
    position = SamplingPosition(exponential)
    assert [position.percent(sigma) for sigma in (1e9, LARGEST * 2, SMALLEST / 2, 0.0)] == [0.0, 0.0, 1.0, 1.0]


def test_a_range_includes_both_of_its_ends():
    position = SamplingPosition(exponential)
    inside = [position.active(exponential(percent), 0.2, 0.6) for percent in (0.19, 0.2, 0.4, 0.6, 0.61)]
    assert inside == [False, True, True, True, False]
    assert position.active(1e6, 0.0, 1.0) and position.active(0.0, 0.0, 1.0)

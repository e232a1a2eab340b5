"""With four steps only a few values of start_at and end_at differ: those that the guide names."""

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.samplers
from comfy.model_sampling import EPS, ModelSamplingDiscrete

from harness.host import ROOT
from pack.weight_schedules.position import SamplingPosition


class Sampling(ModelSamplingDiscrete, EPS):
    """The noise schedule of SD1.5 and SDXL."""


def four_steps(scheduler: str) -> tuple[SamplingPosition, list[float]]:
    """A model's noise schedule, and the sigmas at which the four steps of a scheduler begin."""
    sampling = Sampling()
    sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, 4)[:4]  # the last, 0, begins no step
    return SamplingPosition(sampling.percent_to_sigma), sigmas.tolist()


@pytest.mark.parametrize("scheduler, begins", [("sgm_uniform", [0, 0.25, 0.5, 0.75]), ("normal", [0, 0.33, 0.67, 1])])
def test_four_steps_begin_where_the_guide_says(scheduler: str, begins: list[float]):
    position, sigmas = four_steps(scheduler)
    assert [position.percent(sigma) for sigma in sigmas] == pytest.approx(begins, abs=0.004)  # of 1000 training steps
    guide = (ROOT / "docs" / "parameters.md").read_text("utf-8")
    assert f"| `{scheduler}` | {', '.join(f'{begin:g}' for begin in begins)} |" in guide


def test_a_reference_acts_in_each_step_that_begins_inside_of_its_range():
    position, sigmas = four_steps("sgm_uniform")
    ranges = {(0, 1): 4, (0, 0.8): 4, (0, 0.6): 3, (0, 0.4): 2, (0, 0.1): 1, (0.1, 1): 3, (0.3, 1): 2, (0.3, 0.6): 1}
    ranges |= {(0, 0.5): 3, (0.5, 1): 2}  # both ends belong to the range
    counted = {ends: sum(position.active(sigma, *ends) for sigma in sigmas) for ends in ranges}
    assert counted == ranges

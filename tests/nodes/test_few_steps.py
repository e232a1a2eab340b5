"""With four steps only a few values of start_at and end_at differ: those that the guide names."""

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.samplers
from comfy.model_sampling import CONST, EPS, ModelSamplingDiscrete, ModelSamplingDiscreteFlow, ModelSamplingFlux

from harness.host import ROOT
from pack.weight_schedules.position import SamplingPosition
from pack.weight_schedules.steps import StepCurve


class Sampling(ModelSamplingDiscrete, EPS):
    """The noise schedule of SD1.5 and SDXL."""


class FluxSampling(ModelSamplingFlux, CONST):
    """The noise schedule of Flux."""


class FlowSampling(ModelSamplingDiscreteFlow, CONST):
    """A noise schedule of SD3.5's kind."""


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


@pytest.mark.parametrize(
    "sampling, scheduler", [(FluxSampling, "simple"), (FlowSampling, "simple"), (Sampling, "sgm_uniform")]
)
def test_the_step_at_a_percent_belongs_to_what_begins_and_to_what_ends_there(sampling: type, scheduler: str):
    """ComfyUI's scheduler and its `percent_to_sigma` differ there by the rounding of float32, or do not."""
    position, wrong = SamplingPosition(sampling().percent_to_sigma), []
    for steps in (4, 5, 8, 10, 20, 25):
        sigmas = comfy.samplers.calculate_sigmas(sampling(), scheduler, steps)[:steps].tolist()
        percents = [position.percent(sigma) for sigma in sigmas]
        for step in range(1, steps):
            at = step / steps
            curves = StepCurve(start=at), StepCurve(points=((0, 0), (at, 0), (at, 1)))
            begun = [[curve.at(percent) for percent in percents] for curve in curves]
            begun.append([position.active(sigma, at, 1) for sigma in sigmas])
            ended = [position.active(sigma, 0, at) for sigma in sigmas]
            if begun != [[n >= step for n in range(steps)]] * 3 or ended != [n <= step for n in range(steps)]:
                wrong.append((steps, step))
    assert wrong == []

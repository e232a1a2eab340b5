"""How many Python calls image prompts add to a layer of a step: on a fast GPU, that is what their time consists of."""

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.modules.attention as host_attention

from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from performance.calls import added_calls
from performance.rig import Rig, half_mask

RISING = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))
RIG = Rig("sd15")
CASES = {  # what is applied, and at most how many calls a layer of SD1.5 gets more than without
    "one adapter": (lambda model: RIG.follow(model), 30),
    "a mask": (lambda model: RIG.follow(model, mask=half_mask()), 32),
    "a range": (lambda model: RIG.follow(model, end_at=0.99), 32),
    "two adapters": (lambda model: RIG.chain(model, 2), 48),
    "four adapters": (lambda model: RIG.chain(model, 4), 84),
    "a step schedule": (lambda model: RIG.follow(model, schedule=RISING), 40),
}


def test_a_layer_of_a_step_costs_few_python_calls(monkeypatch):
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    model = RIG.bare()
    counted = {name: added_calls(RIG, model, follow) for name, (follow, _) in CASES.items()}
    assert {name: calls for name, calls in counted.items() if calls > CASES[name][1]} == {}

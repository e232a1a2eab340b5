"""What multiplies a weight is looked at together: each factor may be fine and their product leave all numbers."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from pack.ipadapter.errors import AdapterError
from pack.ipadapter.families import SD15
from pack.nodes.applying.apply import Strength, checked_mask, checked_strength, weights_of
from pack.weight_schedules.schedule import CombinedSchedule, WeightSchedule
from pack.weight_schedules.steps import StepCurve

STEEP = WeightSchedule("all:1000", StepCurve(points=((0.0, 0.0), (0.5, 1000.0), (1.0, 0.0))), scale=1000.0)


def peak_at(percent: float) -> StepCurve:
    """1000 at one sampling percent, 0 a hundredth before and behind it."""
    return StepCurve(points=((percent - 0.01, 0.0), (percent, 1000.0), (percent + 0.01, 0.0)))


@pytest.mark.parametrize(
    "strength",
    [
        Strength(weight=5.0, schedule=STEEP),
        Strength(weight=[1.0, 1000.0], layer_weights="3:1000"),
        Strength(schedule=CombinedSchedule("multiply", STEEP, STEEP)),
        Strength(schedule=WeightSchedule(frames=(1.0, 1000.0), scale=1000.0)),
        Strength(weight=5.0, schedule=WeightSchedule(steps=peak_at(0.1), scale=1000.0)),
        Strength(schedule=CombinedSchedule("add", WeightSchedule(steps=peak_at(0.1)), WeightSchedule(scale=-0.1))),
    ],
)
def test_a_product_that_no_picture_survives_is_refused_before_sampling(strength):
    with pytest.raises(AdapterError, match="The product of weight, layers, schedule and frames is"):
        weights_of(strength, SD15.blocks)


def test_products_that_somebody_may_mean_are_not():
    strength = Strength(weight=5.0, layer_weights="3:2.5", schedule=WeightSchedule(scale=10.0))
    assert weights_of(strength, SD15.blocks).at(0.0)[3] == 125.0
    high, other = peak_at(0.1), peak_at(0.9)  # their product is 0 everywhere
    apart = CombinedSchedule("multiply", WeightSchedule(steps=high), WeightSchedule(steps=other))
    assert weights_of(Strength(schedule=apart), SD15.blocks).at(0.1)[3] == 0.0
    assert weights_of(Strength(schedule=WeightSchedule(steps=high)), SD15.blocks).at(0.1)[3] == 1000.0


@pytest.mark.parametrize("wrong", [{"scaling": "none"}, {"boost": float("nan")}, {"weight": []}, {"start_at": "1"}])
def test_packs_that_call_nodes_by_their_methods_are_told_too(wrong):
    with pytest.raises(AdapterError, match=next(iter(wrong)).replace("scaling", "embeds_scaling")):
        checked_strength(Strength(**wrong))


def test_masks_of_booleans_are_black_and_white():
    mask = torch.tensor([[[True, False]]])
    found = checked_mask(mask)
    assert found is not None and found.equal(torch.tensor([[[1.0, 0.0]]]))

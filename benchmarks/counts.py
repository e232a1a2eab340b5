"""Operations, host reads, matrix products and Python calls that image prompts add to a step."""

from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher

from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from performance.calls import calls_of_step
from performance.rig import Rig, added, half_mask
from test_nodes_pack.counting import host_reads, products, total

RISING = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))
CASES: dict[str, Callable[[Rig, ModelPatcher], ModelPatcher]] = {
    "plain": lambda rig, model: rig.follow(model),
    "with a mask": lambda rig, model: rig.follow(model, mask=half_mask()),
    "style transfer": lambda rig, model: rig.follow(model, weight_type="style transfer"),
    "inside start/end": lambda rig, model: rig.follow(model, end_at=0.999),
    "outside start/end": lambda rig, model: rig.follow(model, start_at=1.0),
    "step schedule": lambda rig, model: rig.follow(model, schedule=RISING),
    "two adapters": lambda rig, model: rig.chain(model, 2),
    "four adapters": lambda rig, model: rig.chain(model, 4),
    "four adapters, masks, schedules": lambda rig, model: rig.chain(model, 4, mask=half_mask(), schedule=RISING),
}


def count_operations(family: str) -> dict[str, dict[str, Any]]:
    """What every case adds to one step of a tiny UNet with a family's real layout."""
    rig = Rig(family)
    model = rig.bare()
    bare, bare_calls = rig.count(model), calls_of_step(rig, model)
    results = {}
    for name, build in CASES.items():
        followed = build(rig, model)
        counts = added(rig.count(followed), bare)
        results[name] = {
            "operations": total(counts),
            "per layer": round(total(counts) / rig.layers, 2),
            "host reads": host_reads(counts),
            "K/V products": products(counts),
            "Python calls per layer": round((calls_of_step(rig, followed) - bare_calls) / rig.layers, 1),
        }
    return results

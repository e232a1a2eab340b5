"""What image prompts add to a step of ComfyUI's KSampler, in operations. Counts, never seconds.

SDXL has two transformers here where it has ten, and the less usual backends two layers in all: a layer costs the same
in all of them. test_server.py counts all 16 and 70.
"""

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.modules.attention as host_attention

from pack.ipadapter.attention import SCALINGS
from pack.nodes.sampling.attach import attached_prompts
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from performance.rig import Rig, added, half_mask
from test_nodes_pack.counting import host_reads, products, total

PER_LAYER = 6  # fold q (2), attention, unfold (2), add
FURTHER = 4  # the same q serves every prompt
SIGMA = 2  # once per model call: pick sigma and read it
FAMILIES = [(family, "attention_pytorch") for family in ("sd15", "sdxl shallow")]
CASES = FAMILIES + [("two layers", backend) for backend in ("attention_sub_quad", "attention_split")]
RISING = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))


class Counted:
    """A family on one attention backend, and its bare model's operations."""

    def __init__(self, family: str) -> None:
        self.rig = Rig(family)
        self.model = self.rig.bare()
        self.bare = self.rig.count(self.model)

    def added(self, model):
        return added(self.rig.count(model), self.bare)


@pytest.fixture(scope="module", params=CASES, ids=str)
def counted(request):
    family, backend = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_attention, "optimized_attention", getattr(host_attention, backend))
        yield Counted(family)


@pytest.mark.parametrize("mask", [None, half_mask()], ids=["plain", "mask"])
def test_an_active_layer_costs_six_operations_with_or_without_a_mask(counted, mask):
    counts = counted.added(counted.rig.follow(counted.model, mask=mask))
    assert total(counts) == PER_LAYER * counted.rig.layers, counts
    assert products(counts) == host_reads(counts) == 0


@pytest.mark.parametrize("prompts", [2, 4])
def test_every_further_adapter_on_a_layer_costs_four(counted, prompts):
    counts = counted.added(counted.rig.chain(counted.model, prompts, mask=half_mask()))
    assert total(counts) == (PER_LAYER + FURTHER * (prompts - 1)) * counted.rig.layers, counts
    assert products(counts) == host_reads(counts) == 0


@pytest.mark.parametrize("counted", FAMILIES, indirect=True, ids=str)
@pytest.mark.parametrize("weight_type", ["style transfer", "composition", "style transfer precise"])
def test_layers_that_a_weight_type_leaves_out_cost_nothing(counted, weight_type):
    model = counted.rig.follow(counted.model, weight_type=weight_type)
    ((prompt,), layers) = (attached_prompts(model), counted.rig.layers)
    per_layer = prompt.weights.at(0.0)
    depths = {11: (1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1), 16: (1,) * 16}[len(per_layer)]
    active = sum(depth for depth, weight in zip(depths, per_layer, strict=True) if weight)
    assert 0 < active < layers
    assert total(counted.added(model)) == PER_LAYER * active


def test_weight_zero_costs_nothing(counted):
    assert not counted.added(counted.rig.follow(counted.model, weight=0.0))


def test_a_range_costs_one_host_read_per_model_call_and_nothing_in_idle_layers(counted):
    active = counted.added(counted.rig.follow(counted.model, end_at=0.999))
    assert total(active) == PER_LAYER * counted.rig.layers + SIGMA, active
    idle = counted.added(counted.rig.follow(counted.model, start_at=1.0, end_at=1.0))
    assert total(idle) == SIGMA, idle
    assert host_reads(active) == host_reads(idle) == 1


def test_one_host_read_serves_a_whole_chain(counted):
    model = counted.rig.chain(counted.model, 4, schedule=RISING, end_at=0.999)
    assert host_reads(counted.added(model)) == 1


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("mask", [None, half_mask()], ids=["plain", "mask"])
def test_a_schedule_costs_no_more_operations_and_one_a_layer_where_it_scales_keys_too(counted, scaling, mask):
    counts = counted.added(counted.rig.follow(counted.model, schedule=RISING, scaling=scaling, mask=mask))
    per_layer = PER_LAYER if scaling == "V only" else PER_LAYER + 1
    assert total(counts) == per_layer * counted.rig.layers + SIGMA, counts
    assert products(counts) == 0


def test_pictures_and_weights_of_frames_cost_no_more_than_one_for_all(counted):
    model = counted.rig.follow(counted.model, images=3, per_frame=True, weight=[0.2, 0.5, 1.0], mask=half_mask(3))
    bare = counted.rig.count(counted.model, frames=3)
    assert total(added(counted.rig.count(model, frames=3), bare)) == PER_LAYER * counted.rig.layers

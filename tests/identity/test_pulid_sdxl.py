"""PuLID in an SDXL: whole predictions against the published formulas, and what every image prompt does, it does too."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from identity.pulid_rig import SHALLOW, V1, V11, bare, drawn, follow, published_sdxl, with_difference
from pack.ipadapter.errors import AdapterError, ModelMismatchError
from pack.nodes.applying.apply import Strength
from pack.nodes.applying.caches import KEYS_VALUES, TOKENS
from pack.nodes.applying.pulid import Person, apply_pulid
from pack.nodes.sampling.attach import attached_prompts
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from performance.rig import Rig
from test_nodes_pack.counting import count_step, host_reads, products, total
from test_nodes_pack.loaders import tiny_control_net
from test_nodes_pack.unets import tiny_model

RULES = {"none": 0, "ortho": 16, "ortho_v2": 8}
FIDELITY = {"projection": "ortho_v2", "zeros": 8}


def half(height, width):
    mask = torch.zeros(height, width)
    mask[:, : width // 2] = 1
    return mask


@pytest.mark.parametrize("name", [V1, V11])
def test_whole_predictions_are_the_published_ones(name):
    model = bare()
    plain = drawn(model)
    for projection, zeros in {**RULES, "ortho_v2 ": 20}.items():
        projection = projection.strip()
        with published_sdxl(model, name, projection, zeros, 0.8):
            expected = drawn(model)
        found = drawn(follow(model, name, projection=projection, zeros=zeros, weight=0.8))
        assert (expected - plain).abs().max() > 0.5, projection
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3, msg=projection)  # float32, scale 15


def test_a_mask_multiplies_what_is_added_after_the_sums_over_the_whole_picture():
    model, mask = bare(), half(16, 8)
    with published_sdxl(model, V1, "ortho_v2", 8, 0.8, mask.view(1, 1, 16, 8)):
        expected = drawn(model)
    found = drawn(follow(model, V1, weight=0.8, mask=mask, **FIDELITY))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)  # float32, scale 15
    assert (expected - drawn(follow(model, V1, weight=0.8, **FIDELITY))).abs().max() > 0.1


def test_a_black_mask_is_named_and_the_person_acts_nowhere(caplog):
    model = bare()
    assert torch.equal(drawn(follow(model, V1, mask=torch.zeros(16, 8), **FIDELITY)), drawn(model))
    assert caplog.text.count("attn_mask is black everywhere, so the reference acts nowhere") == 1
    caplog.clear()
    follow(model, V1, mask=half(16, 8), **FIDELITY)
    assert caplog.text == ""


def test_every_cross_attention_of_an_sdxl_gets_the_weights_of_its_number_and_the_middle_block_acts():
    model = bare(SHALLOW)
    with published_sdxl(model, V1, "ortho_v2", 8, 0.8, family=SHALLOW):
        expected = drawn(model)
    found = drawn(follow(model, V1, weight=0.8, family=SHALLOW, **FIDELITY))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)  # float32, scale 15
    no_middle = drawn(follow(model, V1, weight=0.8, family=SHALLOW, layer_weights="middle:0", **FIDELITY))
    assert (no_middle - expected).abs().max() > 0.05


def test_no_weight_is_no_adapter_and_a_schedule_its_weight_at_that_moment():
    model = bare()
    plain = drawn(model)
    assert torch.equal(drawn(follow(model, V1, weight=0.0, **FIDELITY)), plain)
    assert torch.equal(drawn(follow(model, V1, start_at=0.9, **FIDELITY), start=0.2), drawn(model, start=0.2))
    strong = drawn(follow(model, V1, weight=0.5, **FIDELITY))
    assert not torch.equal(strong, plain)
    schedule = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))
    scheduled = drawn(follow(model, V1, schedule=schedule, **FIDELITY), start=0.5)
    then = drawn(follow(model, V1, weight=schedule.steps.at(0.5), **FIDELITY), start=0.5)
    torch.testing.assert_close(scheduled, then, rtol=0, atol=1e-3)  # sigmas are near the percent, and CFG amplifies


def test_persons_may_be_applied_in_any_order_and_beside_an_ip_adapter():
    model, rig = bare(), Rig("two layers")

    def chain(*steps):
        patched = model
        for step in steps:
            patched = step(patched)
        return drawn(patched)

    def one(patched):
        return follow(patched, V1, 1, weight=0.5, mask=half(16, 8), **FIDELITY)

    def other(patched):
        return follow(patched, V11, 30, weight=0.5, projection="ortho", zeros=16)

    def picture(patched):
        return rig.follow(patched, weight=0.5)

    expected = chain(one, other, picture)
    for order in ((other, one, picture), (picture, other, one), (other, picture, one)):
        torch.testing.assert_close(chain(*order), expected, rtol=0, atol=2e-3)  # float32, sums in another order
    assert (chain(one, other) - expected).abs().max() > 0.1


def test_a_lora_and_a_control_net_act_beside_a_person_in_any_order():
    model, name = bare(SHALLOW), "middle_block.1.transformer_blocks.0.attn2.to_q.weight"
    net = tiny_control_net(11, "sdxl shallow")
    settings = {"weight": 0.8, "family": SHALLOW, **FIDELITY}
    with published_sdxl(model, V1, "ortho_v2", 8, 0.8, family=SHALLOW):
        alone, expected = drawn(model), drawn(with_difference(model, name), net=net)
    found = drawn(follow(with_difference(model, name), V1, **settings), net=net)
    assert (expected - alone).abs().max() > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)  # float32, scale 15
    assert torch.equal(drawn(with_difference(follow(model, V1, **settings), name), net=net), found)


def test_a_changed_weight_encodes_and_projects_no_person_again_and_gives_what_a_first_run_gives():
    model = bare()
    follow(model, V1, weight=0.3, **FIDELITY)
    sizes = len(TOKENS), len(KEYS_VALUES)
    warm = drawn(follow(model, V1, weight=0.7, **FIDELITY))
    assert sizes == (len(TOKENS), len(KEYS_VALUES))
    TOKENS.clear()
    KEYS_VALUES.clear()
    assert torch.equal(drawn(follow(model, V1, weight=0.7, **FIDELITY)), warm)


def test_a_step_has_no_product_of_keys_and_values_and_these_operations_per_layer():
    model = bare()
    plain = count_step(model, lambda steps: drawn(model, steps))
    layers = len(attached_prompts(follow(model, V1))[0].source.pairs)
    for projection, operations in {"none": 6, "ortho": 18, "ortho_v2": 31}.items():
        patched = follow(model, V1, projection=projection)
        counts = count_step(patched, lambda steps, patched=patched: drawn(patched, steps))
        counts.subtract(plain)
        scores = layers if projection == "ortho_v2" else 0  # of queries and keys, which only that rule needs apart
        assert products(counts) == scores and host_reads(counts) == 0, projection
        assert total(counts) == operations * layers, (projection, total(counts) / layers)


def test_other_models_and_adapters_are_refused():
    with pytest.raises(ModelMismatchError, match=r"SDXL.*SD1\.5"):
        follow(tiny_model("sd15", 1), V1)
    with pytest.raises(AdapterError, match="no PuLID"):
        apply_pulid(bare(), Rig("two layers").adapter, None, None, Person(torch.zeros(1, 8, 8, 3)), Strength())
    with pytest.raises(ValueError, match="Swap"):
        follow(bare(), V1, start_at=0.5, end_at=0.2)

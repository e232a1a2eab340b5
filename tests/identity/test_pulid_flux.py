"""PuLID in a Flux: whole predictions against the published formula, beside other packs' patches and other adapters."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from benchmarks.memory import measure_bytes
from identity.pulid_rig import FLUX, SMALL, V11, adapter as adapter_of, follow, published_flux, with_difference
from pack.ipadapter.errors import AdapterError, ModelMismatchError
from pack.nodes.applying import caches
from pack.nodes.applying.apply import Strength
from pack.nodes.applying.pulid import Person, apply_pulid
from pack.nodes.sampling.attach import attached_prompts
from pack.weight_schedules.position import SamplingPosition
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from test_nodes_pack.counting import HOST_NODES, count_step, host_reads, products, total
from test_nodes_pack.standins import seeded
from transformer_rig import (
    adapter,
    embeds,
    flux_control_net,
    follow as follow_picture,
    predict,
    sample,
    texts,
    tiny_model,
)

BLOCK, SINGLE = 11, 2  # operations of a block that acts; a single block is cut into text and picture, and joined again


def half(height, width):
    mask = torch.zeros(height, width)
    mask[:, : width // 2] = 1
    return mask


def test_whole_predictions_are_the_published_ones_for_positive_and_for_negative_rows():
    model = tiny_model("flux")
    plain = predict(model, "flux", cfg=3.0)[1]
    with published_flux(model, 0.9):
        expected = predict(model, "flux", cfg=3.0)[1]
    found = predict(follow(model, FLUX, weight=0.9), "flux", cfg=3.0)[1]
    assert (expected - plain).abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # float32, scale 3
    with published_flux(model, 0.9, half(4, 4).view(1, 16, 1)):
        expected = predict(model, "flux", cfg=3.0)[1]
    inside = predict(follow(model, FLUX, weight=0.9, mask=half(4, 4)), "flux", cfg=3.0)[1]
    torch.testing.assert_close(inside, expected, rtol=0, atol=1e-4)
    assert (inside - found).abs().max() > 0.01


def test_blocks_count_from_the_first_so_that_a_skipped_one_shifts_no_weights():
    model = tiny_model("flux", double=3, single=5)
    plain = predict(model, "flux")[1]
    sizes = {"blocks": 4}  # double 0 and 2, single 0 and 4
    found = {}
    for layers in ("double0:1", "double2:1", "single0:1", "single4:1", "double1:1, single1:1, single2:1, single3:1"):
        found[layers] = predict(follow(model, FLUX, layer_weights=layers, sizes=sizes), "flux")[1]
    *acting, resting = found.values()
    assert all(not torch.equal(out, plain) for out in acting) and torch.equal(resting, plain)


def test_no_weight_is_no_adapter_and_before_its_start_it_does_not_act():
    model = tiny_model("flux")
    plain = predict(model, "flux")[1]
    assert torch.equal(predict(follow(model, FLUX, weight=0.0), "flux")[1], plain)
    early, late = (predict(model, "flux", sigma)[1] for sigma in (0.99, 0.5))
    assert torch.equal(predict(follow(model, FLUX, start_at=0.5), "flux", 0.99)[1], early)
    assert not torch.equal(predict(follow(model, FLUX, start_at=0.1), "flux", 0.5)[1], late)


def test_a_schedule_is_its_weight_at_that_moment_also_in_a_mask():
    model, sigma = tiny_model("flux"), 0.6
    schedule = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))
    position = SamplingPosition(model.get_model_object("model_sampling").percent_to_sigma)
    weight = schedule.steps.at(position.percent(sigma))
    for mask in (None, half(8, 8)):
        scheduled, plain = (
            predict(follow(model, FLUX, mask=mask, **strength), "flux", sigma)[1]
            for strength in ({"schedule": schedule}, {"weight": weight})
        )
        torch.testing.assert_close(scheduled, plain, rtol=0, atol=1e-5)  # the weight is multiplied elsewhere


def test_a_lora_acts_beside_a_person_and_what_is_cached_changes_no_picture():
    model, name = tiny_model("flux"), "double_blocks.0.img_mlp.0.weight"
    with published_flux(model, 0.9):
        alone, expected = sample(model, "flux"), sample(with_difference(model, name), "flux")
    followed = follow(with_difference(model, name), FLUX, weight=0.9)
    cold = sample(followed, "flux")
    assert (expected - alone).abs().max() > 0.01
    torch.testing.assert_close(cold, expected, rtol=0, atol=1e-4)  # float32, scale 3
    assert torch.equal(sample(followed, "flux"), cold)
    assert torch.equal(sample(with_difference(follow(model, FLUX, weight=0.9), name), "flux"), cold)
    caches.forget()
    assert torch.equal(sample(follow(with_difference(model, name), FLUX, weight=0.9), "flux"), cold)


def test_a_control_net_adds_to_each_block_what_it_adds_without_a_person():
    model, net = tiny_model("flux"), flux_control_net()
    hint = seeded((1, 64, 64, 3), 9).sigmoid()
    apply = HOST_NODES.ControlNetApplyAdvanced().apply_controlnet
    positive = apply(texts("flux", 10), texts("flux", 20), net, hint, 0.7, 0, 1)[0]
    with published_flux(model, 0.9):
        alone, expected = predict(model, "flux")[1], predict(model, "flux", positive=positive)[1]
    found = predict(follow(model, FLUX, weight=0.9), "flux", positive=positive)[1]
    assert (expected - alone).abs().max() > 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # float32, scale 3


def test_persons_and_pictures_may_be_applied_in_any_order():
    model, loaded = tiny_model("flux"), adapter("XLabs Flux")

    def one(patched):
        return follow(patched, FLUX, 1, weight=0.5)

    def other(patched):
        return follow(patched, FLUX, 30, weight=0.5, mask=half(4, 4))

    def picture(patched):
        return follow_picture(patched, loaded, embeds("XLabs Flux"), weight=0.5)

    expected = predict(one(other(picture(model))), "flux")[1]
    for order in ((other, one, picture), (picture, other, one), (one, picture, other)):
        patched = model
        for step in order:
            patched = step(patched)
        torch.testing.assert_close(predict(patched, "flux")[1], expected, rtol=0, atol=1e-5)  # sums in another order
    with published_flux(model, 0.5):  # behind the block itself, before what the other adapter adds there
        expected = predict(picture(model), "flux")[1]
    torch.testing.assert_close(predict(picture(one(model)), "flux")[1], expected, rtol=0, atol=1e-4)


def test_what_another_pack_put_in_the_slot_and_its_attention_still_run():
    calls = []

    def around(args, extra):
        calls.append("block")
        return extra["original_block"](args)

    def attention(function, *args, **kwargs):
        calls.append("attention")
        return function(*args, **kwargs)

    model = tiny_model("flux")
    expected = predict(follow(model, FLUX), "flux")[1]
    model.set_model_patch_replace(around, "dit", "double_block", 0)
    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    found = predict(follow(model, FLUX), "flux")[1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert calls.count("block") == 1 and calls.count("attention") >= 4


def test_queries_and_outputs_alone_are_loaded_while_sampling_and_a_step_has_no_product_of_keys_and_values():
    model = tiny_model("flux")
    patched = follow(model, FLUX)
    (prompt,) = attached_prompts(patched)
    loaded = patched.model_patches_models()
    assert all(patcher is loaded[0] for patcher in loaded)
    assert sorted({key.split(".")[1] for key in loaded[0].model.state_dict()}) == ["norm2", "to_out", "to_q"]
    assert not any(key.split(".")[2] in ("norm2", "to_out", "to_q") for key in network_keys(prompt.source.adapter))

    def steps_of(sampled):
        return lambda steps: sample(sampled, "flux", tuple(torch.linspace(1.0, 0.0, steps + 1).tolist()), cfg=3.0)

    bare = count_step(model, steps_of(model))
    for layers, blocks, singles in (("double0:1", 1, 0), ("double0:1, single0:1", 2, 1)):
        acting = follow(model, FLUX, layer_weights=layers)
        counts = count_step(acting, steps_of(acting))
        counts.subtract(bare)
        assert products(counts) == 2 * blocks, layers  # the queries and the way out
        assert total(counts) == BLOCK * blocks + SINGLE * singles, (layers, counts)
        assert host_reads(counts) == 0


def network_keys(loaded):
    return [key for key in loaded.network.state_dict() if key.startswith("ip_adapter.")]


def test_the_bytes_at_the_published_size_are_those_of_the_specification():
    found = measure_bytes()
    kept = {name: found[name]["kept on the device"] / 2 for name in found}  # of one branch of guidance
    megabytes = {"SDXL, InstantID": 5.3, "SDXL, PuLID": 3.3, "SDXL, PuLID v1.1": 10.6, "Flux, PuLID": 5.2}
    assert {name: round(kept[name], 1) for name in megabytes} == megabytes
    loaded = {name: found[name]["adapter on the device while sampling"] for name in megabytes}
    assert {name: round(size) for name, size in loaded.items()} == dict.fromkeys(megabytes, 0) | {"Flux, PuLID": 504}
    assert round(found["Flux, PuLID"]["adapter"]) == 1142
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text("utf-8")
    assert [name for name in megabytes if f"| {name} " not in page] == []


def test_models_and_files_that_do_not_fit_are_refused():
    with pytest.raises(ModelMismatchError, match="19 double and 38 single"):
        follow(tiny_model("flux", double=3, single=2), FLUX)
    with pytest.raises(ModelMismatchError, match=r"SDXL.*Flux"):
        follow(tiny_model("flux"), V11)
    for file, projection, node in ((FLUX, "ortho_v2", "Apply PuLID Flux"), (V11, None, "Apply PuLID")):
        loaded = adapter_of(file, "flux" if file == FLUX else SMALL)
        with pytest.raises(AdapterError, match=f"{file} is PuLID .*: use {node} for it"):
            apply_pulid(tiny_model("flux"), loaded, None, None, Person(torch.zeros(1, 8, 8, 3)), Strength(), projection)
    with pytest.raises(ModelMismatchError, match=r"Flux.*SD3\.5"):
        follow(tiny_model("sd3.5"), FLUX)

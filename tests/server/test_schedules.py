"""Weights over layers and steps in a running server equal the plain data, whatever samples."""

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph
from harness.sampling import apply, sample
from pack.ipadapter.families import LAYOUTS
from pack.weight_schedules.schedule import CombinedSchedule, WeightSchedule
from pack.weight_schedules.steps import StepCurve

SHALLOW = "sdxl shallow"  # its layers have one attention, or two
BLOCKS = {"sd15": LAYOUTS["SD1.5"], SHALLOW: LAYOUTS["SDXL"]}
FILES = {"sd15": "ip-adapter_sd15.safetensors", SHALLOW: "ip-adapter_sdxl_shallow.safetensors"}
FIRST = {
    "layers": "ease in",
    "layer_text": "",
    "steps": "linear down",
    "low": 0.2,
    "high": 1.5,
    "start": 0.1,
    "end": 0.9,
}
CONSTANT = {"layers": "linear", "steps": "constant", "low": 0.0, "high": 1.0, "start": 0.0, "end": 1.0}
SECOND = FIRST | {"layer_text": "style:0.5, 0-3:2", "points": "0:0, 0.3:1, 0.3:0.4, 1:0.8"}
PLAIN = CombinedSchedule(
    "composition from second",
    WeightSchedule("ease in", StepCurve("linear down", 0.2, 1.5, 0.1, 0.9)),
    WeightSchedule("style:0.5, 0-3:2", StepCurve(points=((0, 0), (0.3, 1), (0.3, 0.4), (1, 0.8)))),
    0.8,
)


def combined(g: Graph) -> list:
    first, second = (g.add("IPAdapterWeightSchedule", **settings) for settings in (FIRST, SECOND))
    links = {"first": first[0], "second": second[0]}
    return g.add("IPAdapterCombineSchedules", **links, method=PLAIN.method, scale=PLAIN.scale)[0]


def probed(server, schedule, family="sd15", weight=0.7, start_at=0.0, end_at=1.0, **sampling) -> list[dict]:
    """What every attention of a run added, as multiples of what it adds at weight 1."""
    g = Graph()
    model = g.add("TestModel", family=family, seed=1)[0]
    common = {"file": FILES[family], "start_at": start_at, "end_at": end_at}
    model_with = apply(g, model, weight=weight, schedule=schedule(g), **common)
    probe = g.add("TestWeightProbe", model=model_with[0], unit=apply(g, model, file=FILES[family])[0])
    settings: dict = {"steps": 3} | sampling
    latent = sample(g, probe[0], family, **settings)
    report = g.add("TestWeightReport", record=probe[1], after=latent[0])
    return server.run(g).outputs[report.id]["calls"]


def check(calls: list[dict], schedule, family: str, weight: float) -> None:
    resolved = schedule.resolve(BLOCKS[family])
    for call in calls:
        expected = weight * resolved.at(call["percent"])[call["layer"]]
        # The percent is read from sigma through two tables of 1,000 entries, interpolated differently between them.
        assert call["weight"] == pytest.approx(expected, rel=0, abs=1e-3), call
        # float32: the sum text + image, minus the text.
        assert call["rest"] <= 1e-4 * max(1.0, call["largest"]), call


@pytest.mark.parametrize("scheduler", ["normal", "karras", "exponential"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun", "lcm", "ddim"])
def test_every_layer_gets_its_weight_at_every_call(server, sampler, scheduler):
    calls = probed(server, combined, sampler_name=sampler, scheduler=scheduler)
    layers = {call["layer"] for call in calls}
    assert layers == set(range(16))
    per_layer = [call["percent"] for call in calls if call["layer"] == 0]
    assert len(per_layer) == (5 if sampler == "heun" else 3)
    assert per_layer == sorted(per_layer) and per_layer[0] < 0.01
    check(calls, PLAIN, "sd15", 0.7)


def test_sdxl_layers_share_their_weight_among_their_attentions(server):
    calls = probed(server, combined, SHALLOW, steps=2)
    assert {call["layer"] for call in calls} == set(range(11))
    check(calls, PLAIN, SHALLOW, 0.7)


def test_one_step_takes_the_first_weight(server):
    calls = probed(server, combined, steps=1)
    assert len({call["sigma"] for call in calls}) == 1 and max(call["percent"] for call in calls) < 0.01
    check(calls, PLAIN, "sd15", 0.7)


def test_image_to_image_takes_up_the_schedule_where_its_noise_stands(server):
    calls = probed(server, combined, steps=2, denoise=0.5)
    assert 0.3 < min(call["percent"] for call in calls) < 0.7
    check(calls, PLAIN, "sd15", 0.7)


def test_start_and_end_cut_the_schedule_off(server):
    calls = probed(server, combined, steps=6, start_at=0.3, end_at=0.7)
    inside = [call for call in calls if 0.3 <= call["percent"] <= 0.7]
    outside = [call for call in calls if not 0.3 <= call["percent"] <= 0.7]
    assert inside and outside
    check(inside, PLAIN, "sd15", 0.7)
    assert all(call["weight"] == 0 and call["attentions"] == 1 for call in outside)


def test_layers_and_steps_at_zero_run_no_image_attention(server):
    def half_the_time(g):
        settings = FIRST | {"layer_text": "style, 6:1", "steps": "constant", "points": "0:1, 0.5:1, 0.5:0, 1:0"}
        return g.add("IPAdapterWeightSchedule", **settings)[0]

    calls = probed(server, half_the_time, steps=4)
    silent = [call for call in calls if call["layer"] in (4, 5, 7, 8) or call["percent"] >= 0.5]
    loud = [call for call in calls if call not in silent]
    assert {call["layer"] for call in loud} == {0, 1, 2, 3, 6, 9, 10, 11, 12, 13, 14, 15}
    assert all(call["attentions"] == 2 and call["weight"] == pytest.approx(0.7, abs=1e-4) for call in loud)
    assert all(call["attentions"] == 1 and call["weight"] == 0 and call["rest"] == 0 for call in silent)


def test_a_schedule_of_zeros_equals_no_adapter_bit_for_bit(server):
    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)[0]
    zeros = g.add("IPAdapterWeightSchedule", **(FIRST | {"low": 0.0, "high": 0.0}))[0]
    adapted = apply(g, model)
    g.save("bare", sample(g, model)[0])
    g.save("scheduled", sample(g, apply(g, model, schedule=zeros)[0])[0])
    g.save("rescaled", sample(g, g.add("IPAdapterRescale", model=adapted[0], factor=0.0)[0])[0])
    g.save("adapted", sample(g, adapted[0])[0])
    result = server.run(g)
    bare = result.tensor("bare")
    assert torch.equal(result.tensor("scheduled"), bare) and torch.equal(result.tensor("rescaled"), bare)
    assert not torch.equal(result.tensor("adapted"), bare)


def test_a_constant_schedule_of_one_changes_nothing(server):
    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)[0]
    one = g.add("IPAdapterWeightSchedule", **(FIRST | CONSTANT))[0]
    g.save("plain", sample(g, apply(g, model)[0])[0])
    g.save("scheduled", sample(g, apply(g, model, schedule=one)[0])[0])
    result = server.run(g)
    assert torch.equal(result.tensor("plain"), result.tensor("scheduled"))


def test_start_and_end_of_a_constant_schedule_are_those_of_the_apply_node(server):
    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)[0]
    some = g.add("IPAdapterWeightSchedule", **(FIRST | CONSTANT | {"start": 0.2, "end": 0.8}))[0]
    runs = {"scheduled": {"schedule": some}, "ranged": {"start_at": 0.2, "end_at": 0.8}, "whole": {}}
    for name, settings in runs.items():
        g.save(name, sample(g, apply(g, model, **settings)[0], steps=5)[0])
    result = server.run(g)
    assert torch.equal(result.tensor("scheduled"), result.tensor("ranged"))
    assert not torch.equal(result.tensor("scheduled"), result.tensor("whole"))


def test_one_knob_rescales_a_whole_chain_and_leaves_the_chain_itself_alone(server):
    def chain(g, model, factor, **more):
        first = apply(g, model, image=1, weight=0.5 * factor, **more)
        return apply(g, first[0], image=2, file="ip-adapter-plus_sd15.safetensors", weight=0.8 * factor)[0]

    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)[0]
    whole = chain(g, model, 1.0)
    g.save("knob", sample(g, g.add("IPAdapterRescale", model=whole, factor=0.5)[0])[0])
    g.save("by hand", sample(g, chain(g, model, 0.5))[0])
    g.save("chain", sample(g, whole)[0])
    # The average of one picture is that picture: the same chain, made of nodes that nothing was ever plugged into.
    g.save("another chain", sample(g, chain(g, model, 1.0, combine_embeds="average"))[0])
    result = server.run(g)
    assert torch.equal(result.tensor("knob"), result.tensor("by hand"))
    assert torch.equal(result.tensor("chain"), result.tensor("another chain"))
    assert not torch.equal(result.tensor("chain"), result.tensor("knob"))


def test_a_knob_on_a_model_without_references_does_nothing(server):
    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)[0]
    g.save("bare", sample(g, model)[0])
    g.save("knob", sample(g, g.add("IPAdapterRescale", model=model, factor=2.0)[0])[0])
    result = server.run(g)
    assert torch.equal(result.tensor("bare"), result.tensor("knob"))


def test_the_preview_draws_the_steps_of_the_run(server):
    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)[0]
    sigmas = g.add("BasicScheduler", model=model, scheduler="karras", steps=5, denoise=1.0)
    preview = g.add("IPAdapterSchedulePreview", schedule=combined(g), family="SDXL", model=model, sigmas=sigmas[0])
    g.save("picture", preview[0])
    result = server.run(g)
    shown = result.images(preview.id)[0]
    assert shown.size == (1304, (46 + 27 * 16 + 86) * 2)
    assert result.tensor("picture").shape == (1, shown.height, shown.width, 3)


def test_a_schedule_survives_being_text(server):
    def through_text(g):
        text = g.add("IPAdapterScheduleToText", schedule=combined(g))
        return g.add("IPAdapterScheduleFromText", text=text[0])[0]

    check(probed(server, through_text, steps=2), PLAIN, "sd15", 0.7)


def test_comfyui_s_own_curve_is_followed_between_its_points(server):
    def drawn(g):
        points = {"points": [[0, 1], [0.4, 0.2], [1, 0.6]], "interpolation": "linear"}
        curve = g.add("CurveEditor", curve=points)
        return g.add("IPAdapterWeightSchedule", **FIRST, curve=curve[0])[0]

    if "CurveEditor" not in server.call("/object_info"):
        pytest.skip("this ComfyUI has no Curve Editor")
    # Kept as 64 straight pieces: the corner at 0.4 lies inside one, which cuts it by at most half a piece of slope 2.
    expected = WeightSchedule("ease in", StepCurve(points=((0, 1), (0.4, 0.2), (1, 0.6))))
    calls = [call for call in probed(server, drawn, steps=4) if abs(call["percent"] - 0.4) > 1 / 64]
    check(calls, expected, "sd15", 0.7)


def test_a_layer_that_the_model_lacks_is_refused_before_sampling(server):
    def wrong(g):
        return g.add("IPAdapterWeightSchedule", **(FIRST | {"layer_text": "11:1"}))[0]

    with pytest.raises(
        PromptError, match=r"IPAdapterAdvanced: .*'11' is no layer of this model. It has: 0 \(input 4\)"
    ):
        probed(server, wrong, SHALLOW)


@pytest.mark.parametrize("weight_type", ["style transfer precise", "composition precise", "weak middle"])
def test_a_weight_type_in_a_schedule_is_the_weight_type_of_the_node(server, weight_type):
    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)[0]
    settings = FIRST | CONSTANT | {"layers": weight_type}
    scheduled = apply(g, model, weight=0.5, schedule=g.add("IPAdapterWeightSchedule", **settings)[0])
    g.save("scheduled", sample(g, scheduled[0])[0])
    g.save("typed", sample(g, apply(g, model, weight=0.5, weight_type=weight_type)[0])[0])
    g.save("linear", sample(g, apply(g, model, weight=0.5)[0])[0])
    result = server.run(g)
    typed = result.tensor("typed")
    # 0.2 times 0.5 and 0.5 times 0.2 round alike, but the quarter of SD1.5's layer 4 may be taken in another order.
    torch.testing.assert_close(result.tensor("scheduled"), typed, rtol=0, atol=1e-5)
    assert not torch.allclose(result.tensor("linear"), typed, rtol=0, atol=1e-3)


def test_frame_weights_multiply_the_steps(server):
    def batch(g, model, schedule):
        return sample(g, apply(g, model, schedule=schedule)[0], batch=3)[0]

    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)[0]
    weights = g.add(
        "IPAdapterWeights", weights="1.0, 0.0, 1.0", timing="custom", frames=0, start_frame=0, end_frame=9999,
        add_starting_frames=0, add_ending_frames=0, method="full batch",
    )  # fmt: skip
    framed = g.add("IPAdapterWeightSchedule", **FIRST, frame_weights=weights[0])[0]
    g.save("framed", batch(g, model, framed))
    g.save("alike", batch(g, model, g.add("IPAdapterWeightSchedule", **FIRST)[0]))
    g.save("bare", sample(g, model, batch=3)[0])
    result = server.run(g)
    framed, alike, bare = (result.tensor(name) for name in ("framed", "alike", "bare"))
    effect = float((alike - bare).abs().max())
    # Frames with weights of their own have K/V of their own: float32 sums in another order, which guidance amplifies.
    torch.testing.assert_close(framed[[0, 2]], alike[[0, 2]], rtol=0, atol=1e-3 * effect)
    torch.testing.assert_close(framed[1], bare[1], rtol=0, atol=1e-3 * effect)
    assert (alike[1] - bare[1]).abs().max() > 0.1 * effect

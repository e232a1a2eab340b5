"""What references without an adapter cost beside a bare run, in operations, Python calls and bytes. Never seconds."""

import re
from typing import Any

import comfy.ldm.modules.attention as host_attention
import comfy.sampler_helpers
import comfyui_version
import pytest
import torch

from benchmarks.references import MARKS, count_all
from harness.host import ROOT
from pack.doctor.host import NEWEST
from pack.ipadapter.cache import tensor_bytes
from pack.ipadapter.sequences import Layout
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.sampling import reference_plans
from pack.nodes.sampling.attach import rider_of
from pack.nodes.sampling.riding import Ride
from performance.forwards import operations
from performance.rig import Rig, half_mask
from references import edit_models
from test_nodes_pack.counting import host_reads, total
from test_nodes_pack.standins import seeded
from test_nodes_pack.transformers import TRANSFORMERS, model_of

RIG = Rig("sd15")
LATENT = {"samples": seeded((1, 4, 8, 8), 11)}
# Operations that a layer gets more, and at most how many calls of Python functions.
WEIGHED = {
    "weight 1": (0, 0), "weight 0": (0, 0), "weight 0 of the last of two": (0, 0),
    "weight 0 of the first of two": (16, 24), "a weight between": (10, 19), "a mask": (10, 19),
}  # fmt: skip
RIDING = {
    "weight 0": (0, 0), "weight 1": (2, 15), "a weight between": (17, 25), "a mask": (23, 30),
    "compete, a weight between": (5.5, 20),
}  # fmt: skip
TEXT, PICTURE, REFERENCES, NUMBER = 5, 12, (12, 10), 4  # tokens of the tiny Kontext, bytes of a number


@pytest.fixture(scope="module")
def costs():
    return count_all()


counted_here = pytest.mark.skipif(
    comfyui_version.__version__ != NEWEST, reason=f"counted on ComfyUI {NEWEST}, whose attention has its own operations"
)


@counted_here
@pytest.mark.parametrize(("part", "bounds"), [("weighed", WEIGHED), ("riding", RIDING)])
def test_a_layer_costs_few_operations_and_python_calls(costs, part, bounds):
    found = costs[part]
    counts = {name: row["operations"] for name, row in found.items()}
    assert counts == {name: count for name, (count, _) in bounds.items()}
    assert {name: row["Python calls"] for name, row in found.items() if row["Python calls"] > bounds[name][1]} == {}


def test_a_layer_reads_nothing_back(costs):
    assert not any(row["host reads"] for found in costs.values() for row in found.values())


def test_a_run_holds_the_biases_of_one_attention_and_without_a_weight_between_none(costs):
    keys = TEXT + PICTURE + sum(REFERENCES)
    rows = {"a weight between": 3, "a mask": TEXT + PICTURE + 2}  # a row for each reference's own tokens
    held = {name: row["bytes kept"] for name, row in costs["weighed"].items()}
    assert held == {name: rows.get(name, 0) * keys * NUMBER for name in WEIGHED}


def test_a_run_holds_biases_up_to_a_limit_and_at_least_those_of_the_last_attention(monkeypatch):
    monkeypatch.setattr(reference_plans, "LIMIT", 8 * NUMBER)
    plans, layout = reference_plans.ReferencePlans(), Layout(TEXT, PICTURE, REFERENCES)
    held = []
    for step, size in enumerate((3, 4, 2, 9, 1)):
        plan = reference_plans.ReferencePlan(layout, (), (torch.zeros(size), None))
        plans.store(plans.of_call(step // 2), step, plan)  # two attentions of each call
        held.append([len(bias) for bias in plans.biases()])
    assert held == [[3], [3, 4], [2], [9], [1]]


@counted_here
def test_the_page_has_the_counted_operations(costs):
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    table = page.split(MARKS[0])[1].split(MARKS[1])[0]
    told = re.findall(r"^\| ([\w ,]+?) *\| +([\d.]+) \|", table, re.MULTILINE)
    counted = [(name, f"{row['operations']:g}") for part in costs.values() for name, row in part.items()]
    assert told == counted


def ride(**looks: Any) -> Any:
    return ride_along(RIG.bare(), LATENT, None, Looks(**{"layers": "all"} | looks))


def test_the_run_on_a_riding_reference_has_the_operations_of_a_bare_run(monkeypatch):
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    (_, bare), _ = operations(RIG.bare(), RIG.sample)
    for looks in ({}, {"weight": 0.7}, {"mask": half_mask()}):
        runs = operations(ride(**looks), RIG.sample)
        assert [rows for rows, _ in runs] == [1, 2, 1, 2]
        assert total(runs[2][1]) == total(bare) and host_reads(runs[3][1]) == 0, looks


def test_a_block_of_a_transformer_costs_as_many_operations_as_the_page_says():
    found = {}
    for name in ("Flux", "Qwen-Image", "Z-Image"):
        kind = TRANSFORMERS[name]

        def sample(model: Any, kind: Any = kind) -> Any:
            return edit_models.sample(model, kind, (), cfg=2.0)

        _, (_, bare) = operations(model_of(kind), sample)
        looks = Looks(layers="all", competes=True, weight=0.5)
        runs = operations(ride_along(model_of(kind), {"samples": kind.latent(11)}, None, looks), sample)
        assert [rows for rows, _ in runs] == [1, 2, 1, 2]
        assert [host_reads(run) for _, run in runs[2:]] == [0, 0]
        found[name] = (total(runs[3][1]) - total(bare)) / kind.layers
    assert found == {"Flux": 40.5, "Qwen-Image": 53, "Z-Image": 86.5}


def test_bytes_of_keys_and_values_are_kept_for_acting_layers_alone(costs, monkeypatch):
    model = ride(layers="late")
    monkeypatch.setattr(Ride, "cleanup", lambda self: None)
    with torch.inference_mode():
        RIG.sample(model)
    late = sum(tensor_bytes(captured) for _, captured in rider_of(model, Ride).kept.values())
    # Keys and values of every acting self-attention in float32: tokens x channels.
    of_levels = {64: 32, 16: 64, 4: 128}
    layers = [{64: 3, 16: 3}, {64: 2, 16: 2, 4: 5}]  # late ones, and those before
    sizes = [sum(2 * NUMBER * tokens * of_levels[tokens] * n for tokens, n in part.items()) for part in layers]
    middle = 2 * NUMBER * 1 * 128
    assert (late, costs["riding"]["weight 1"]["bytes kept"]) == (sizes[0], sum(sizes) + middle)


def test_comfyui_frees_memory_for_a_riding_reference_as_for_further_latents(monkeypatch):
    """Every picture of a reference counts as a latent, a larger one as as many as its pixels fill."""
    shapes, estimate = [], comfy.sampler_helpers.estimate_memory

    def noted(model: Any, noise_shape: Any, conds: Any) -> Any:
        shapes.append(list(noise_shape))
        return estimate(model, noise_shape, conds)

    monkeypatch.setattr(comfy.sampler_helpers, "estimate_memory", noted)
    two_larger = {"samples": seeded((2, 4, 12, 8), 12)}
    one = ride()
    both = ride_along(one, two_larger, None, Looks())
    for model in (RIG.bare(), RIG.follow(RIG.bare()), one, RIG.follow(both)):
        RIG.sample(model, 1)
    assert shapes == [[count, 4, 8, 8] for count in (1, 1, 2, 5)]

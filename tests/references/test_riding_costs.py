"""What a riding reference costs beside the model's run on it, in operations, Python calls and bytes. Never seconds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.ldm.modules.attention as host_attention
import pytest
import torch

from pack.ipadapter.cache import tensor_bytes
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.sampling.attach import rider_of
from pack.nodes.sampling.riding import Ride
from performance.rig import Rig, half_mask
from references import edit_models
from test_nodes_pack.counting import Operations, host_reads, total
from test_nodes_pack.standins import seeded
from test_nodes_pack.transformers import TRANSFORMERS, model_of

RIG = Rig("sd15")
LATENT = {"samples": seeded((1, 4, 8, 8), 11)}


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """The number of Python calls while it is entered, in a list of one."""
    calls = [0]

    def see(frame: Any, event: str, argument: Any) -> None:
        calls[0] += event == "call"

    sys.setprofile(see)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def forwards(model: Any, count: Callable[[], Any], sample: Callable[[Any], Any] = RIG.sample) -> list[tuple[int, Any]]:
    """The rows of every run of the network in two steps, and how much `count` rose in it."""
    seen, begun = [], []
    unet = model.get_model_object("diffusion_model")
    hooks = [
        unet.register_forward_pre_hook(lambda *_: begun.append(count())),
        unet.register_forward_hook(lambda _, args, out: seen.append((len(args[0]), count() - begun.pop()))),
    ]
    try:
        sample(model)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def operations(model: Any, sample: Callable[[Any], Any] = RIG.sample) -> list[tuple[int, Any]]:
    with torch.inference_mode(), Operations() as counter:
        return forwards(model, counter.counts.copy, sample)


def ride(**looks: Any) -> Any:
    return ride_along(RIG.bare(), LATENT, None, Looks(**{"layers": "all"} | looks))


@pytest.fixture(autouse=True)
def one_backend(monkeypatch):
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)


# How many operations a layer of the picture's run gets more, and at most how many calls of Python functions.
CASES: dict[str, tuple[dict[str, Any], int, int]] = {
    "all of the attention": ({}, 2, 30),  # the attention to the reference is in place of the picture's own
    "a part of it": ({"weight": 0.7}, 17, 41),
    "a mask": ({"mask": half_mask()}, 23, 46),
    "compete": ({"weight": 0.5, "competes": True}, 16, 47),
}


def test_a_layer_of_the_picture_costs_few_operations_and_the_references_run_none():
    (_, bare), _ = operations(RIG.bare())
    found = {}
    for name, (looks, _, _) in CASES.items():
        runs = operations(ride(**looks))
        assert [rows for rows, _ in runs] == [1, 2, 1, 2]
        assert total(runs[2][1]) == total(bare)  # the reference's own run, in the second step
        assert host_reads(runs[3][1]) == 0
        found[name] = (total(runs[3][1]) - total(bare)) / RIG.layers
    assert found == {name: more for name, (_, more, _) in CASES.items()}


def test_a_block_of_a_transformer_costs_no_transfer_and_as_many_operations_as_the_docs_say():
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
    assert found == {"Flux": 54, "Qwen-Image": 62, "Z-Image": 95.5}


def test_a_layer_of_the_picture_costs_few_python_calls():
    def calls(model: Any) -> int:
        with counted_calls() as counter:
            return forwards(model, lambda: counter[0])[-1][1]

    bare = calls(RIG.bare())
    counted = {name: (calls(ride(**looks)) - bare) / RIG.layers for name, (looks, _, _) in CASES.items()}
    assert {name: more for name, more in counted.items() if more > CASES[name][2]} == {}


def test_bytes_of_keys_and_values_are_kept_for_acting_layers_alone(monkeypatch):
    kept = {}
    for layers in ("late", "all"):
        model = ride(layers=layers)
        monkeypatch.setattr(Ride, "cleanup", lambda self: None)
        RIG.sample(model)
        kept[layers] = sum(tensor_bytes(captured) for _, captured in rider_of(model, Ride).kept.values())
    # Keys and values of every acting self-attention in float32: tokens x channels.
    of_levels = {64: 32, 16: 64, 4: 128}
    late, before = {64: 3, 16: 3}, {64: 2, 16: 2, 4: 5}
    sizes = [sum(2 * 4 * tokens * of_levels[tokens] * n for tokens, n in part.items()) for part in (late, before)]
    middle = 2 * 4 * 1 * 128
    assert kept == {"late": sizes[0], "all": sum(sizes) + middle}

"""Weighed references of edit models, and riding references, beside other nodes in a running ComfyUI."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

from compatibility.neighbours import node
from harness.graph import Link
from harness.wiring import Wiring

ROUNDING = 2e-5  # of the largest value: products of other batch sizes, through all layers and steps
CACHED = {"reuse_threshold": 3.0, "start_percent": 0.1, "end_percent": 1.0, "verbose": False}


@dataclass
class Edit:
    """A tiny edit model with two references in one graph, and what its sampler gets."""

    w: Wiring
    steps: int
    inputs: dict[str, Any]  # of the model's node

    def __post_init__(self) -> None:
        made = self.w.graph.add("TestEditModel", **self.inputs)
        self.model, self.positive, self.negative, self.latent = (made[slot] for slot in range(4))

    def weigh(self, model: Link, weight: float, **more: Any) -> Link:
        return self.w.add("IPAdapterReferenceWeights", model=model, weight=weight, **more)[0]

    def sample(self, model: Link) -> Link:
        links = {"positive": self.positive, "negative": self.negative, "latent_image": self.latent, "model": model}
        widgets = {"seed": 5, "steps": self.steps, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple"}
        return self.w.graph.add("KSampler", **links, **widgets, denoise=1.0)[0]


def whole_model(w: Wiring, model: Link) -> Link:
    return model


@dataclass(frozen=True)
class Neighbour:
    """A node on the model, or a change of its conditionings."""

    model: Callable[[Wiring, Link], Link] = whole_model
    scene: Callable[[Edit], None] = lambda edit: None
    kind: str = "Flux Kontext"
    batch: int = 1
    steps: int = 2
    dtype: str = "fp32"
    acts: bool = True  # whether the picture is another with it


def in_area(edit: Edit) -> None:
    """A second text for the left two thirds of the canvas."""
    widgets = {"width": 0.67, "height": 1.0, "x": 0.0, "y": 0.0, "strength": 1.0}
    left = edit.w.graph.add("ConditioningSetAreaPercentage", conditioning=edit.negative, **widgets)
    links = {"conditioning_1": edit.positive, "conditioning_2": left[0]}
    edit.positive = edit.w.graph.add("ConditioningCombine", **links)[0]


def hooked(edit: Edit) -> None:
    hooks = edit.w.graph.add("TestHook", model=edit.model)[0]
    links = {"positive_NEW": edit.positive, "negative_NEW": edit.negative, "hooks": hooks}
    both = edit.w.add("PairConditioningSetProperties", **links)
    edit.positive, edit.negative = both[0], both[1]


def controlled(edit: Edit) -> None:
    links = {"positive": edit.positive, "negative": edit.negative, "image": edit.w.image(7, width=48, height=64)}
    net = edit.w.graph.add("TestEditControlNet")[0]
    both = edit.w.add("ControlNetApplyAdvanced", control_net=net, **links)
    edit.positive, edit.negative = both[0], both[1]


CHOICES = {"context_schedule": "standard_static", "fuse_method": "pyramid"}  # without a default in old releases
WINDOWS = node("ContextWindowsManual", context_length=2, context_overlap=1, **CHOICES)
NEIGHBOURS = {
    "ControlNet": Neighbour(scene=controlled),
    "LoRA hooks": Neighbour(scene=hooked),
    "Areas": Neighbour(scene=in_area),
    "EasyCache": Neighbour(node("EasyCache", **CACHED), steps=6),
    "EasyCache, Qwen": Neighbour(node("EasyCache", **CACHED), steps=6, kind="Qwen-Image-Edit"),
    "context windows": Neighbour(WINDOWS, batch=3, acts=False),
    "low VRAM": Neighbour(node("TestLittleMemory", share=0.5), acts=False),
    "no VRAM, Qwen": Neighbour(node("TestLittleMemory", share=0.0), kind="Qwen-Image-Edit", acts=False),
    "fp16": Neighbour(dtype="fp16"),
    "fp16, Qwen": Neighbour(dtype="fp16", kind="Qwen-Image-Edit"),
    "bf16": Neighbour(dtype="bf16"),
    "another attention": Neighbour(node("TestAttentionOverride")),
}


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def offences(server: Any, near: Neighbour) -> list[str]:
    """What is not as it should be beside a neighbour."""
    w = Wiring(server)

    def edit(**inputs: Any) -> Edit:
        made = Edit(w, near.steps, {"kind": near.kind, "dtype": near.dtype, "batch": near.batch} | inputs)
        near.scene(made)
        return made

    def half(edit: Edit, model: Link) -> Link:
        return edit.weigh(model, 0.5, reference=1, attn_mask=w.left_half(48, 64))

    one, none, anew = edit(), edit(references=0), edit(again=1)
    alone = Edit(w, near.steps, {"kind": near.kind, "batch": near.batch})
    beside = near.model(w, one.model)
    pictures = {
        "neighbour": one.sample(beside),
        "neighbour without references": none.sample(near.model(w, none.model)),
        "weight 1": one.sample(one.weigh(beside, 1.0)),
        "weight 0": one.sample(one.weigh(beside, 0.0)),
        "half": one.sample(half(one, beside)),
        "half, other order": anew.sample(near.model(w, half(anew, anew.model))),
        "half alone": alone.sample(half(alone, alone.model)),
    }
    for name, latent in pictures.items():
        w.graph.save(name, latent)
    result = server.run(w.graph)
    latents = {name: result.tensor(name) for name in pictures}
    same = {"weight 1": "neighbour", "weight 0": "neighbour without references", "half, other order": "half"}
    found = [name for name, other in same.items() if not latents[name].equal(latents[other])]
    found += [] if all(latent.isfinite().all() for latent in latents.values()) else ["not finite"]
    found += ["half is the neighbour"] if gap(latents["half"], latents["neighbour"]) < 1e-4 else []
    difference = gap(latents["half"], latents["half alone"])
    if near.acts and difference == 0:
        found.append("the neighbour does not act")
    if not near.acts and difference > ROUNDING:
        found.append(f"half is {difference:.1e} off")
    return found


def test_beside_every_neighbour_weights_of_references_act_in_any_order_and_0_and_1_change_no_bit(server):
    known = server.call("/object_info")
    assert "EasyCache" in known and "ContextWindowsManual" in known
    assert {name: wrong for name, near in NEIGHBOURS.items() if (wrong := offences(server, near))} == {}


# Riding references, beside what tests/compatibility/neighbours.py does not have


def ride(w: Wiring, model: Link, weight: float = 1.0) -> Link:
    vae = w.graph.add("TestVae", family="sd15")[0]
    latent = w.graph.add("VAEEncode", pixels=w.image(1, width=64, height=64), vae=vae)
    return w.add("IPAdapterReferenceAttention", model=model, latent=latent[0], layers="all", weight=weight)[0]


def sampled(w: Wiring, model: Link, steps: int) -> Link:
    texts = [w.graph.add("TestConditioning", family="sd15", seed=seed)[0] for seed in (10, 20)]
    links = {"model": model, "positive": texts[0], "negative": texts[1]}
    latent = w.graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)[0]
    widgets = {"seed": 5, "steps": steps, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return w.graph.add("KSampler", latent_image=latent, **links, **widgets)[0]


def ridden(
    server: Any, beside: Callable[[Wiring, Link], Link], steps: int = 2, dtype: str = "fp32"
) -> dict[str, Tensor]:
    """Latents with and without a riding reference and a neighbour."""
    w = Wiring(server)
    plain = w.graph.add("TestModel", family="sd15", seed=1)[0]
    model, anew = (w.graph.add("TestModel", family="sd15", seed=1, dtype=dtype)[0] for _ in range(2))
    pictures = {
        "bare": plain, "ours": ride(w, plain), "neighbour": beside(w, model), "both": ride(w, beside(w, model)),
        "weight 0": ride(w, beside(w, model), 0.0), "other order": beside(w, ride(w, anew)),
    }  # fmt: skip
    for name, link in pictures.items():
        w.graph.save(name, sampled(w, link, steps))
    result = server.run(w.graph)
    latents = {name: result.tensor(name) for name in pictures}
    assert latents["weight 0"].equal(latents["neighbour"]) and latents["other order"].equal(latents["both"])
    assert latents["both"].isfinite().all() and gap(latents["both"], latents["neighbour"]) > 1e-3
    return latents


def test_easycache_reuses_steps_of_the_picture_and_never_one_of_the_reference(server):
    latents = ridden(server, node("EasyCache", **CACHED), steps=6)
    assert not latents["neighbour"].equal(latents["bare"]) and not latents["both"].equal(latents["ours"])


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_with_little_memory_a_riding_reference_gives_its_usual_bits(server, share):
    latents = ridden(server, node("TestLittleMemory", share=share))
    assert latents["both"].equal(latents["ours"]) and latents["neighbour"].equal(latents["bare"])


@pytest.mark.parametrize(("dtype", "bound"), [("fp16", 0.01), ("bf16", 0.08)])
def test_a_riding_reference_in_16_bits_is_the_one_in_32_up_to_rounding(server, dtype, bound):
    latents = ridden(server, whole_model, dtype=dtype)
    assert 0 < gap(latents["both"], latents["ours"]) < bound
    assert gap(latents["ours"], latents["bare"]) > 2 * bound

"""The contract of image prompts on a UNet (docs/contract.md): what holds whatever pictures and weights are.

The same of Flux and SD3.5 is in transformers/test_behaviour.py.
"""

from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.samplers

import synthetic
from harness.in_process import conditioning, following, sample
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.applying.caches import forget
from pack.nodes.applying.encoding import Reference
from pack.nodes.loading.adapters import manage
from test_nodes_pack import standins, unets

SD15: dict[str, Any] = {"context": 768, "channels": synthetic.sd15_channels(32)}
SMALL: dict[str, Any] = {"hidden": 64, "dim": 64, "heads": 1, "depth": 1}
VARIANTS = {"standard": SD15 | {"pooled": 32}, "plus": SD15 | SMALL}


def adapter_of(variant: str):
    return manage(read_checkpoint(synthetic.adapter(variant, seed=7, **VARIANTS[variant]), f"{variant}.safetensors"))


@pytest.fixture(scope="module")
def adapters():
    return {variant: adapter_of(variant) for variant in VARIANTS}


@pytest.fixture(scope="module")  # no test changes it: that would show in the others
def model():
    return unets.tiny_model("sd15", seed=1)


@pytest.fixture(scope="module")
def bare(model):
    """What the model samples without image prompts."""
    return sample(model, steps=2)


def reference(variant: str = "standard", seed: int = 1) -> Reference:
    shape = (1, 32) if variant == "standard" else (1, 257, 64)
    return Reference(embeds=standins.seeded(shape, seed), negative_embeds=torch.zeros(shape))


def follow(model, adapters, variant: str = "standard", seed: int = 1, **strength):
    return following(model, adapters[variant], reference(variant, seed), **strength)


def left_half(height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def first_attention(model, height: int, width: int) -> torch.Tensor:
    """What the first cross-attention gives in a run's first call, (rows, height, width, channels)."""
    seen: list[torch.Tensor] = []

    def look(n, options):
        if options["transformer_index"] == 0:
            seen.append(n.clone())
        return n

    clone = model.clone()
    clone.set_model_attn2_output_patch(look)
    sample(clone, (1, 4, height, width))
    return seen[0].unflatten(1, (height, width))


@pytest.mark.parametrize("variant", VARIANTS)
def test_weight_0_an_empty_mask_and_a_range_outside_of_the_run_are_no_adapter_bit_for_bit(
    model, adapters, bare, variant
):
    assert not torch.equal(sample(follow(model, adapters, variant), steps=2), bare)
    never = {
        "weight 0": {"weight": 0.0},
        "weight 0 in every layer": {"layer_weights": "all:0"},
        "weight 0 in every frame": {"weight": [0.0, 0.0]},
        "black mask": {"mask": torch.zeros(1, 64, 64)},
        "before the run": {"start_at": 0.0, "end_at": 0.0},
        "after the run": {"start_at": 1.0, "end_at": 1.0},
    }
    changed = [
        name
        for name, strength in never.items()
        if not torch.equal(sample(follow(model, adapters, variant, **strength), steps=2), bare)
    ]
    assert changed == []


def test_a_white_mask_is_no_mask_bit_for_bit(model, adapters):
    without = sample(follow(model, adapters), steps=2)
    for size in ((1, 64, 64), (1, 1, 1), (1, 7, 300), (3, 16, 16)):
        assert torch.equal(sample(follow(model, adapters, mask=torch.ones(size)), steps=2), without), size


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9)])
def test_half_a_mask_changes_its_half_of_the_attention_and_no_more(model, adapters, height, width):
    mask = left_half(height * 8, width * 8)
    models = (model, follow(model, adapters), follow(model, adapters, mask=mask))
    without, whole, half = (first_attention(m, height, width) for m in models)
    middle = width // 2
    right = middle + width % 2  # an odd width has a middle column that both halves share
    assert torch.equal(half[:, :, :middle], whole[:, :, :middle])
    assert torch.equal(half[:, :, right:], without[:, :, right:])
    assert not torch.equal(whole[:, :, right:], without[:, :, right:])


def test_a_grey_mask_is_between_none_and_a_white_one(model, adapters, bare):
    grey = sample(follow(model, adapters, mask=torch.full((1, 5, 3), 0.5)), steps=2)
    assert not torch.equal(grey, bare) and not torch.equal(grey, sample(follow(model, adapters), steps=2))


def test_a_range_inside_of_the_run_acts_in_its_steps_alone(model, adapters):
    late, always = follow(model, adapters, start_at=0.4), follow(model, adapters)
    assert not torch.equal(sample(late, steps=4), sample(always, steps=4))
    assert not torch.equal(sample(late, steps=4), sample(model, steps=4))
    # A single step from a point of sampling is inside of the range, or it is not.
    assert torch.equal(sample(late, start=0.39), sample(model, start=0.39))
    assert torch.equal(sample(late, start=0.41), sample(always, start=0.41))


def test_a_range_ends_with_the_step_at_its_end(model, adapters):
    until = follow(model, adapters, end_at=0.5)
    assert torch.equal(sample(until, start=0.5), sample(follow(model, adapters), start=0.5))
    assert torch.equal(sample(until, start=0.51), sample(model, start=0.51))


def test_the_order_of_two_adapters_does_not_matter(model, adapters):
    def chain(*seeds):
        chained = model
        for seed in seeds:
            chained = follow(chained, adapters, seed=seed, weight=0.3)
        return sample(chained, steps=2)

    # Sums in another order differ in the last bits, and two steps at a guidance of 4 amplify them.
    torch.testing.assert_close(chain(1, 2), chain(2, 1), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(chain(1, 2), chain(1, 1), rtol=1e-3, atol=1e-3)


def test_a_chain_a_clone_and_a_run_leave_the_models_that_came_in_as_they_were(model, adapters, bare):
    one = follow(model, adapters)
    alone = sample(one, steps=2)
    two = follow(one, adapters, "plus", seed=2)
    both = sample(two, steps=2)
    assert not torch.equal(both, alone)
    assert torch.equal(sample(one, steps=2), alone)
    assert torch.equal(sample(one.clone(), steps=2), alone) and torch.equal(sample(two.clone(), steps=2), both)
    assert torch.equal(sample(model, steps=2), bare)


def test_a_changed_weight_in_a_chain_gives_warm_what_it_gives_cold(model, adapters):
    def chained(model, adapters, weight):
        first = follow(model, adapters, seed=1)
        return sample(follow(first, adapters, "plus", seed=2, weight=weight), steps=2)

    forget()
    other, warm = chained(model, adapters, 0.5), chained(model, adapters, 0.9)
    forget()
    anew = {variant: adapter_of(variant) for variant in VARIANTS}
    assert torch.equal(warm, chained(unets.tiny_model("sd15", seed=1), anew, 0.9))
    assert not torch.equal(warm, other)


def test_without_guidance_the_positive_rows_alone_follow_the_picture(model, adapters):
    def unguided(model):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(conditioning(10), conditioning(20))
        guider.set_cfg(1.0)
        return sample(model, guider=guider)

    assert not torch.equal(unguided(follow(model, adapters)), unguided(model))

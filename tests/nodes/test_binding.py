"""How image prompts live on ComfyUI's models: clones, other packs' patches, guiders, areas, windows."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.context_windows
import comfy.samplers
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from comfy_extras.nodes_perpneg import Guider_PerpNeg

import synthetic
from harness.in_process import conditioning, following, sample
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.image_prompt import NEGATIVE, POSITIVE
from pack.nodes.applying.apply import Request, Strength, apply_adapter
from pack.nodes.applying.encoding import Reference
from pack.nodes.loading.adapters import manage
from pack.nodes.sampling.call import position_of
from pack.nodes.sampling.patches import KEY
from test_nodes_pack import standins, unets


@pytest.fixture(scope="module")
def adapter():
    state_dict = synthetic.adapter("standard", seed=7, context=768, channels=synthetic.sd15_channels(32), pooled=32)
    return manage(read_checkpoint(state_dict, "tiny.safetensors"))


@pytest.fixture(scope="module")  # no test changes it: that would show in the others
def model():
    return unets.tiny_model("sd15", seed=1)


def embeds(seed: int, images: int = 1) -> torch.Tensor:
    return standins.seeded((images, 32), seed)


def follow(model, adapter, seed=1, images=1, combine="concat", per_frame=False, **strength):
    reference = Reference(embeds=embeds(seed, images), combine=combine, per_frame=per_frame)
    return following(model, adapter, reference, **strength)


def attn2(model) -> dict:
    return model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})


def recorded(model) -> tuple[Any, list]:
    """A model that writes down the decision of every call of its first layer."""
    seen: list = []

    def look(n, options):
        if options["transformer_index"] == 0:
            seen.append(SimpleNamespace(call=options[KEY]["plan"].call, labels=options["cond_or_uncond"]))
        return n

    clone = model.clone()
    clone.set_model_attn2_output_patch(look)
    return clone, seen


def rows_of(n: torch.Tensor, options: dict, label: int) -> torch.Tensor:
    """The rows of one of ComfyUI's groups: 0 is usually the positive one, 1 the negative."""
    chunks = n.chunk(len(options["cond_or_uncond"]))
    return chunks[options["cond_or_uncond"].index(label)].clone()


def nearly_equal(one: torch.Tensor, other: torch.Tensor) -> None:
    """Attention over other numbers of rows differs in the last bits, which sigma 14 and a guidance of 4 amplify."""
    torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-3)


def roles_by_label(seen) -> dict[int, str]:
    return {label: branch for one in seen for label, branch in zip(one.labels, one.call.rows.branches, strict=True)}


def test_every_layer_is_patched_and_the_model_that_came_in_is_not(model, adapter):
    patched = follow(model, adapter)
    assert set(attn2(patched)) == {("input", n) for n in (1, 2, 4, 5, 7, 8)} | {("middle", 0)} | {
        ("output", n) for n in range(3, 12)
    }
    assert not attn2(model) and not model.wrappers and not model.callbacks


def test_layers_that_a_weight_type_leaves_out_are_not_patched(model, adapter):
    assert set(attn2(follow(model, adapter, weight_type="composition"))) == {("input", 7), ("input", 8)}


def test_the_middle_block_follows_the_picture(model, adapter):
    """The old pack registered its middle block under a name that ComfyUI never asks for."""
    only_middle = follow(model, adapter, layer_weights="mid:1.0")
    assert set(attn2(only_middle)) == {("middle", 0)}
    assert not torch.equal(sample(only_middle), sample(model))


def test_a_foreign_patch_in_the_slot_is_called_and_added_to(model, adapter):
    calls = []

    def foreign(q, k, v, options):
        calls.append(options["block"])
        return torch.zeros_like(q)

    theirs = model.clone()
    theirs.set_model_attn2_replace(foreign, "input", 1)
    both = follow(theirs, adapter)
    assert not torch.equal(sample(both), sample(theirs)) and not torch.equal(
        sample(both), sample(follow(model, adapter))
    )
    assert ("input", 1) in calls
    assert attn2(theirs)["input", 1] is foreign


def test_a_foreign_patch_after_ours_may_call_it(model, adapter):
    ours = follow(model, adapter)
    wrapped = ours.clone()
    inner = attn2(wrapped)["input", 1]
    wrapped.set_model_attn2_replace(lambda q, k, v, options: inner(q, k, v, options), "input", 1)
    assert torch.equal(sample(wrapped), sample(ours))
    twice = follow(wrapped, adapter, seed=2)
    assert not torch.equal(sample(twice), sample(ours))


def test_packs_that_call_add_on_a_clone_change_that_clone_alone(model, adapter):
    ours = follow(model, adapter)
    before = sample(ours)
    theirs = ours.clone()

    def contribution(out, q, k, v, options, *, scale, sigma_start, sigma_end):
        return torch.full_like(out, scale)

    attn2(theirs)["input", 1].add(contribution, scale=0.5, sigma_start=1e9, sigma_end=0.0)
    changed = sample(theirs)
    assert not torch.equal(changed, before)
    assert torch.equal(sample(ours), before)
    assert torch.equal(sample(theirs.clone()), changed)
    attn2(never := ours.clone())["input", 1].add(contribution, scale=0.5, sigma_start=0.0, sigma_end=0.0)
    assert torch.equal(sample(never), before)


@pytest.mark.parametrize("styles, compositions", [(1, 3), (1, 1), (3, 1), (2, 3)])
def test_the_negative_rows_never_see_the_references_whatever_their_counts(model, adapter, styles, compositions):
    """Unequal counts of style and composition pictures slid tokens across groups in the old pack."""
    vision = standins.tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224)

    def negative_rows(seed):
        pictures = [standins.seeded((n, 32, 32, 3), seed + n).clamp(0, 1) for n in (styles, compositions)]
        request = Request(Reference(*pictures), Strength(weight_type="style and composition"))
        out = []
        clone = apply_adapter(model, adapter, [request], vision).model.clone()

        def look(n, options):
            if options["transformer_index"] == 4:
                out.append(rows_of(n, options, label=1))
            return n

        clone.set_model_attn2_output_patch(look)
        sample(clone)
        return out[0]

    assert torch.equal(negative_rows(1), negative_rows(100))


def test_dual_guidance_gives_the_picture_to_the_positive_only(model, adapter):
    """ComfyUI passes [negative, middle, positive] here, so that label 0 is the negative."""
    patched, seen = recorded(follow(model, adapter))
    guider = Guider_DualCFG(patched)
    guider.set_conds(conditioning(1), conditioning(2), conditioning(3))
    guider.set_cfg(3.0, 2.0)
    sample(patched, guider=guider)
    assert roles_by_label(seen) == {0: NEGATIVE, 1: NEGATIVE, 2: POSITIVE}


def test_perpendicular_negative_guidance_gives_the_picture_to_the_positive_only(model, adapter):
    patched, seen = recorded(follow(model, adapter))
    guider = Guider_PerpNeg(patched)
    guider.set_conds(conditioning(1), conditioning(2), conditioning(3))
    guider.set_cfg(3.0, 1.0)
    sample(patched, guider=guider)
    assert roles_by_label(seen) == {0: POSITIVE, 1: NEGATIVE, 2: NEGATIVE}


def test_an_area_sees_its_own_part_of_the_mask(model, adapter):
    """The old pack squeezed the whole mask into every area."""
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1  # the right half
    patched = follow(model, adapter, mask=mask)

    def first_layer(m, x):
        out = []
        clone = m.clone()

        def look(n, options):
            if 0 in options["cond_or_uncond"]:
                out.append(rows_of(n, options, label=0))
            return n

        clone.set_model_attn2_output_patch(look)
        sample(clone, positive=conditioning(10, area=(8, 4, 0, x), strength=1.0))
        return out[0]

    left = (first_layer(patched, 0), first_layer(model, 0))
    right = (first_layer(patched, 4), first_layer(model, 4))
    assert torch.equal(*left) and not torch.equal(*right)


def test_a_frame_in_a_context_window_follows_its_own_picture_with_its_own_weight(model, adapter):
    """Each frame is as in a run without windows in which all frames follow its picture with its weight."""
    frames, pictures = 8, embeds(1, 8)
    weights = [0.5 + frame / 4 for frame in range(frames)]
    patched, seen = recorded(follow(model, adapter, images=frames, per_frame=True, weight=weights))
    windowed = patched.clone()
    windowed.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=4, context_overlap=1, dim=0,
    )  # fmt: skip
    out = sample(windowed, shape=(frames, 4, 8, 8))
    assert len({one.call.rows.window for one in seen}) > 1
    for frame, weight in enumerate(weights):
        reference = Reference(embeds=pictures[frame : frame + 1])
        alone = sample(following(model, adapter, reference, weight=weight), shape=(frames, 4, 8, 8))
        nearly_equal(out[frame], alone[frame])
        others = [other for other in range(frames) if other != frame]
        assert (out[others] - alone[others]).abs().amax(dim=(1, 2, 3)).min() > 0.02, frame


def test_sampling_percents_lead_back_to_the_sigma_that_they_come_from(model):
    position = position_of(model.get_model_object("model_sampling"))
    for sigma in (14.0, 7.1, 2.34567, 0.7, 0.11):
        # Both sides interpolate log(sigma), between other entries: without it, the error is up to 3e-3.
        again = float(model.get_model_object("model_sampling").percent_to_sigma(position.percent(sigma)))
        assert math.log(again) == pytest.approx(math.log(sigma), abs=1e-4)


def test_each_frame_follows_its_own_picture(model, adapter):
    both = sample(follow(model, adapter, images=2, per_frame=True), shape=(2, 4, 8, 8))
    first = sample(follow(model, adapter, images=1), shape=(2, 4, 8, 8))
    nearly_equal(both[0], first[0])
    assert (both[1] - first[1]).abs().max() > 0.01


def test_a_weight_list_gives_every_frame_its_own_weight(model, adapter):
    listed = sample(follow(model, adapter, weight=[1.0, 0.0]), shape=(2, 4, 8, 8))
    full, none = (sample(follow(model, adapter, weight=w), shape=(2, 4, 8, 8)) for w in (1.0, 0.0))
    nearly_equal(listed[0], full[0])
    torch.testing.assert_close(listed[1], none[1], rtol=1e-4, atol=1e-4)


def test_precise_types_push_away_in_the_negative_rows_only(model, adapter):
    def first_swapped(m):
        out = []
        clone = m.clone()

        def look(n, options):
            if options["transformer_index"] == 4 and not out:
                out.append((options["cond_or_uncond"], n.clone()))
            return n

        clone.set_model_attn2_output_patch(look)
        sample(clone)
        return out[0]

    only_composition = "4:1.0"
    (labels, bare), (_, pushed) = (
        first_swapped(model),
        first_swapped(follow(model, adapter, layer_weights=only_composition, weight_type="style transfer precise")),
    )
    rows = {label: slice(i, i + 1) for i, label in enumerate(labels)}
    assert torch.equal(pushed[rows[0]], bare[rows[0]]) and not torch.equal(pushed[rows[1]], bare[rows[1]])


def test_a_sampler_that_needs_gradients_works(model, adapter):
    patched = follow(model, adapter)
    x = standins.seeded((2, 4, 8, 8), 3).requires_grad_()
    options = patched.model_options["transformer_options"] | {"cond_or_uncond": [1, 0], "sigmas": torch.tensor([5.0])}
    out = patched.model.diffusion_model(
        x, torch.tensor([500.0, 500.0]), standins.seeded((2, 77, 768), 4), transformer_options=options
    )
    out.square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0

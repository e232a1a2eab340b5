"""Whole noise predictions of ComfyUI's Flux and SD3.5 with image prompts equal diffusers' with the same weights."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.sd

import tiny_transformers as tiny
import transformer_judge as judge
from transformer_rig import FAMILY, adapter, embeds, follow, predict, state, texts, tiny_model

TOLERANCE = 1e-4  # float32, other kernels and another order of sums through all blocks
SIGMA, SCALE = 0.7, 0.7
SHAPE = (2, 16, 12, 8)
KINDS = list(FAMILY)


def conditioning(family):
    text, options = texts(family, 10)[0]
    return text.expand(SHAPE[0], -1, -1), options["pooled_output"].expand(SHAPE[0], -1)


def judged(kind, x, seen=None):
    """diffusers' prediction; with the adapter of `kind` where it is given what an encoder saw."""
    family = FAMILY[kind]
    make, predicts = {"flux": (judge.flux, judge.flux_prediction), "sd3.5": (judge.sd35, judge.sd35_prediction)}[family]
    model = make(tiny.STATES[family]())
    if seen is None:
        return predicts(model, x, SIGMA, *conditioning(family))
    if kind == "InstantX Flux":
        judge.load_instantx(model, state(kind), seen, SCALE)
        return predicts(model, x, SIGMA, *conditioning(family))
    if kind == "XLabs Flux":
        judge.load_xlabs(model, state(kind), SCALE)
        return predicts(model, x, SIGMA, *conditioning(family), [seen.expand(len(x), -1).unsqueeze(1)])
    judge.load_sd35(model, state(kind), SCALE)
    return predicts(model, x, SIGMA, *conditioning(family), seen.expand(len(x), -1, -1))


@pytest.mark.parametrize("kind", ["XLabs Flux", "InstantX SD3.5"], ids=["flux", "sd3.5"])
def test_the_tiny_models_themselves_are_those_of_diffusers(kind):
    x, found = predict(tiny_model(FAMILY[kind]), FAMILY[kind], SIGMA, shape=SHAPE)
    assert found.std() > 0.1
    torch.testing.assert_close(found, judged(kind, x), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_with_an_image_prompt_is_that_of_the_judge(kind):
    family, seen = FAMILY[kind], embeds(kind)
    bare = tiny_model(family)
    x, plain = predict(bare, family, SIGMA, shape=SHAPE)
    again, found = predict(follow(bare, adapter(kind), seen, weight=SCALE), family, SIGMA, shape=SHAPE)
    assert torch.equal(x, again)
    assert (found - plain).abs().max() > 0.05
    torch.testing.assert_close(found, judged(kind, x, seen), rtol=0, atol=TOLERANCE)


def test_a_norm_that_cannot_be_divided_out_is_left_out_instead():
    kind, weights = "InstantX SD3.5", tiny.sd35()
    weights["joint_blocks.0.x_block.attn.ln_q.weight"][3] = 0.0
    weights["joint_blocks.1.x_block.attn.ln_k.weight"][5] = 1e-5
    model = judge.sd35(weights)
    judge.load_sd35(model, state(kind), SCALE)
    bare = comfy.sd.load_diffusion_model_state_dict(dict(weights))
    x, found = predict(follow(bare, adapter(kind), embeds(kind), weight=SCALE), "sd3.5", SIGMA, shape=SHAPE)
    seen = embeds(kind).expand(len(x), -1, -1)
    expected = judge.sd35_prediction(model, x, SIGMA, *conditioning("sd3.5"), seen)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)

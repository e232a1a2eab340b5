"""Image prompts on Flux and SD3.5 in half precision, and beside weights of 8 bits and packed ones."""

from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.sd

import tiny_transformers as tiny
from pack.ipadapter.sites import find_sites
from packed import Packed, change_linears, pack_linears
from transformer_rig import FAMILY, adapter, embeds, follow, predict, tiny_model

OPTIONS = {
    "bf16": {"dtype": torch.bfloat16},
    "fp16": {"dtype": torch.float16},
    "fp8": {"dtype": torch.float8_e4m3fn},  # computed in another type
}
# Half of bfloat16's step at the size of the added values, times the blocks behind; 8-bit weights are another model.
CLOSE = {"bf16": 0.1, "fp16": 0.02}


@pytest.mark.parametrize("precision", OPTIONS)
@pytest.mark.parametrize("kind", FAMILY)
def test_prompts_follow_the_type_that_a_model_computes_in(kind, precision):
    family, loaded = FAMILY[kind], adapter(kind)
    bare = comfy.sd.load_diffusion_model_state_dict(tiny.STATES[family](), model_options=OPTIONS[precision])
    full = tiny_model(family)
    none, found = predict(bare, family)[1], predict(follow(bare, loaded, embeds(kind)), family)[1]
    assert found.isfinite().all()
    assert torch.equal(predict(follow(bare, loaded, embeds(kind), weight=0.0), family)[1], none)
    added = predict(follow(full, loaded, embeds(kind)), family)[1] - predict(full, family)[1]
    error = ((found - none) - added).norm() / added.norm()
    assert error < CLOSE.get(precision, 0.5), error


@pytest.mark.parametrize("kind", FAMILY)
def test_packed_weights_hide_no_width_and_give_the_bits_of_what_they_hold(kind):
    """As in GGUF's loaders: bytes in the place of weights, a Linear of their own. The judge holds the same numbers."""
    family, loaded = FAMILY[kind], adapter(kind)
    packed, plain = tiny_model(family), tiny_model(family)
    before = find_sites(plain.model.diffusion_model)
    pack_linears(packed.model.diffusion_model)
    assert find_sites(packed.model.diffusion_model) == before
    hold_what_packed_ones_hold(plain.model.diffusion_model)
    mask = torch.tensor([0.0, 1.0]).repeat_interleave(4).expand(1, 8, 8)
    strengths: list[dict[str, Any]] = [{"weight": 0.0}, {}, {"mask": mask, "weight": 0.8}]
    drawn = []
    for strength in strengths:
        found, expected = (predict(follow(m, loaded, embeds(kind), **strength), family)[1] for m in (packed, plain))
        assert torch.equal(found, expected)  # float32, the same products
        drawn.append(found)
    assert torch.equal(drawn[0], predict(packed, family)[1])
    assert all((one - drawn[0]).abs().max() > 1e-3 for one in drawn[1:])


def hold_what_packed_ones_hold(model):
    def rounded(linear):
        with torch.no_grad():
            linear.weight.copy_(Packed(linear).unpacked(linear.weight))
        return linear

    change_linears(model, rounded)

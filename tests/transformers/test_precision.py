"""Image prompts on Flux and SD3.5 in half precision, and beside weights of 8 bits."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.sd

import tiny_transformers as tiny
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

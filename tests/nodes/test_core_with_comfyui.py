"""The core, which knows nothing of ComfyUI, with ComfyUI's layers and image preprocessing."""

from typing import Any

import pytest
import torch

import synthetic

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.clip_model
import comfy.ops

from pack.encoders.encoder import VisionEncoder, crop, hide_outside, stretch
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.checkpoint import read_checkpoint

TINY: dict[str, Any] = dict(
    context=32, channels=[16, 32], pooled=24, hidden=40, dim=32, face_hidden=20, depth=2, rank=4
)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def project(adapter):
    config = adapter.config
    embeds = {"pooled": randn(2, config.embed_dim or 1), "hidden": randn(2, 5, config.embed_dim or 1), None: None}
    return adapter.project(embeds[config.takes], randn(2, 512, seed=1) if config.needs_face else None)


@pytest.mark.parametrize("variant", synthetic.PROJECTIONS)
def test_comfyui_layers_give_the_same_numbers(variant):
    checkpoint = read_checkpoint(synthetic.adapter(variant, **TINY), "a.bin")
    tokens = project(AdapterNetwork.from_checkpoint(checkpoint, comfy.ops.manual_cast))
    assert torch.equal(tokens, project(AdapterNetwork.from_checkpoint(checkpoint)))


@pytest.mark.parametrize("variant", synthetic.PROJECTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_compute_in_the_type_of_what_comes_in(variant, dtype):
    half = read_checkpoint(synthetic.adapter(variant, dtype=dtype, **TINY), "a.bin")
    adapter = AdapterNetwork.from_checkpoint(half, comfy.ops.manual_cast)
    exact = AdapterNetwork.from_checkpoint(half).float()  # the rounded weights, widened
    assert {p.dtype for p in adapter.parameters()} == {dtype}
    torch.testing.assert_close(project(adapter), project(exact), rtol=1e-6, atol=1e-6)  # cast before or after is one


@pytest.mark.parametrize(("fit", "crops"), [(crop, True), (stretch, False)])
def test_fitting_is_what_comfyui_does_before_encoding(fit, crops):
    for height, width in ((224, 224), (100, 100), (300, 200), (101, 333), (1, 1)):
        images = torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(0))
        expected = comfy.clip_model.clip_preprocess(images, size=224, crop=crops)
        assert torch.equal(comfy.clip_model.clip_preprocess(fit(images, 224), size=224), expected)


@pytest.mark.parametrize(("fit", "crops"), [(crop, True), (stretch, False)])
def test_a_mask_multiplies_what_comfyui_gives_the_encoder(fit, crops):
    images = torch.rand(3, 100, 150, 3, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(3, 40, 80, generator=torch.Generator().manual_seed(1))
    mean, std = [0.5, 0.4, 0.3], [0.3, 0.3, 0.3]

    def normalised(pictures):
        return comfy.clip_model.clip_preprocess(pictures, size=56, mean=mean, std=std, crop=crops)

    encoder = VisionEncoder(56, mean, fit, encode=lambda images: pytest.fail("masks are put on pictures"))
    expected = normalised(images) * fit(masks.unsqueeze(-1), 56).movedim(-1, 1)
    step = 1 / 255 / std[0]  # ComfyUI rounds its input to 8 bits: half a step where a mask is grey
    seen = normalised(hide_outside(images, masks, encoder))
    torch.testing.assert_close(seen, expected, rtol=0, atol=0.51 * step)

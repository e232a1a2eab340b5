"""Projections, keys and values equal those of diffusers' own IP-Adapter with the same file."""

from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

import judge
import synthetic
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.checkpoint import read_checkpoint

# Sizes that diffusers insists on: 257 full face tokens, a face network of a multiple of 512, a depth of 4 or less.
SIZES: dict[str, Any] = dict(
    context=64, channels=(), pooled=24, hidden=40, dim=96, heads=2, face_hidden=1024, lora=False
)
SMALL: dict[str, Any] = dict(
    block_out_channels=(32, 64),
    layers_per_block=1,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    cross_attention_dim=64,
    attention_head_dim=2,
)
KINDS = ["standard", "plus", "full face", "FaceID", "FaceID Plus", "FaceID Plus V2"]


def small_unet() -> Any:
    return UNet2DConditionModel(sample_size=8, **SMALL).eval().requires_grad_(False)


def both(variant, seed=0):
    """The same weights as diffusers' UNet and as our network."""
    unet = small_unet()
    sizes: dict[str, Any] = SIZES | {"channels": judge.channels_of(unet)}
    nested = synthetic.adapter(variant, seed=seed, **sizes)
    judge.load(unet, [nested])
    return unet, AdapterNetwork.from_checkpoint(read_checkpoint(nested, f"{variant}.bin"))


def features(n=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"pooled": (n, 24), "hidden": (n, 257, 40), "face": (n, 512)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def tokens_of_diffusers(unet, variant, given, strength):
    """diffusers' projection; images go in as (batch, images, ...)."""
    if variant.startswith("FaceID Plus"):
        judge.prepare_face(unet, 0, given["hidden"][:, None], strength, shortcut=variant.endswith("V2"))
    key = "face" if variant.startswith("FaceID") else "pooled" if variant == "standard" else "hidden"
    return unet.encoder_hid_proj([given[key][:, None]])[0][:, 0]


def our_tokens(adapter, given, strength):
    config = adapter.config
    embeds = given[config.takes] if config.takes else None
    return adapter.project(embeds, given["face"] if config.needs_face else None, face_weight=strength)


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("variant", KINDS)
def test_tokens_are_those_of_diffusers(variant, strength):
    unet, adapter = both(variant)
    expected, tokens = (
        tokens_of_diffusers(unet, variant, features(), strength),
        our_tokens(adapter, features(), strength),
    )
    assert expected.std() > 0.1
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)  # float32, other attention kernels


@pytest.mark.parametrize("variant", KINDS)
def test_keys_and_values_are_those_of_diffusers(variant):
    unet, adapter = both(variant)
    tokens = our_tokens(adapter, features(), 1.0)
    processors = [p for name, p in unet.attn_processors.items() if ".attn2." in name]
    assert len(processors) == len(adapter.config.key_numbers)
    for number, processor in zip(adapter.config.key_numbers, processors, strict=True):
        keys, values = adapter.keys_values(tokens, number)
        torch.testing.assert_close(keys, processor.to_k_ip[0](tokens), rtol=0, atol=0)
        torch.testing.assert_close(values, processor.to_v_ip[0](tokens), rtol=0, atol=0)

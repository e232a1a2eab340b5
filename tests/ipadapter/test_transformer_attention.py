"""Tokens, keys and values, and attention on transformers equal diffusers' Flux and SD3 adapters with the same weights,
and the published formulas.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, JointAttnProcessor2_0, SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

import synthetic_transformers as synthetic_dit
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.mechanisms.joint_attention import can_renorm, joint_token_attention, read_by_layers, renorm
from pack.ipadapter.token_attention import fold_heads, rotate_back, token_attention

TOLERANCE = 1e-5  # float32, other kernels and another order of sums


def attend(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def random(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ours(kind, **sizes):
    state = synthetic_dit.adapter(kind, **sizes)
    return state, AdapterNetwork.from_checkpoint(read_checkpoint(state, kind))


def heads_of(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def small_sd3() -> Any:
    return SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        num_layers=2,
        attention_head_dim=64,
        num_attention_heads=2,
        joint_attention_dim=24,
        caption_projection_dim=128,
        pooled_projection_dim=16,
        out_channels=4,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    ).eval()


@pytest.mark.parametrize("timestep", [1000.0, 731.25, 0.0])
def test_sd35s_resampler_is_that_of_diffusers_at_every_timestep(timestep):
    state, adapter = ours("InstantX SD3.5")
    judge = small_sd3()._convert_ip_adapter_image_proj_to_diffusers(state["image_proj"], low_cpu_mem_usage=False)
    embeds = random(2, 9, 20)
    with torch.no_grad():
        expected = judge(embeds, torch.tensor([timestep, timestep]))
        found = adapter.tokens_at(embeds, timestep)
    for x, y in zip(found, expected, strict=True):
        assert y.std() > 0.1
        torch.testing.assert_close(x, y, rtol=0, atol=1e-4)  # an angle of 1000 is known to 6e-5 in float32


def test_sd35s_tokens_differ_between_timesteps():
    _, adapter = ours("InstantX SD3.5")
    first, second = (adapter.tokens_at(random(1, 9, 20), t)[0] for t in (900.0, 100.0))
    assert (first - second).abs().max() > 0.1


def test_sd35s_attention_adds_what_diffusers_processor_adds():
    state, adapter = ours("InstantX SD3.5")
    processor: Any = SD3IPAdapterJointAttnProcessor2_0(128, 128, 64, timesteps_emb_dim=128, scale=0.7)
    layer = {key.removeprefix("1."): t for key, t in state["ip_adapter"].items() if key.startswith("1.")}
    processor.load_state_dict(layer)
    torch.manual_seed(0)
    attn: Any = Attention(128, heads=2, dim_head=64, bias=True, qk_norm="rms_norm", eps=1e-6, out_bias=False)
    for norm in (attn.norm_q, attn.norm_k):
        norm.weight.data = 1 + 0.4 * random(64, seed=3)
    hidden, embeds = random(2, 12, 128), random(2, 9, 20, seed=4)
    with torch.no_grad():
        tokens, time = adapter.tokens_at(embeds, 700.0)
        with_adapter = processor(attn, hidden, ip_hidden_states=tokens, temb=time)
        plain: Any = JointAttnProcessor2_0()
        added = with_adapter - plain(attn, hidden)
        q, k, v = (heads_of(project(hidden), 2) for project in (attn.to_q, attn.to_k, attn.to_v))
        norms: Any = adapter.layer(1)
        normed, silu = read_by_layers(tokens, time)
        q = renorm(attn.norm_q(q), attn.norm_q.weight, norms["norm_q"].weight)
        k = renorm(attn.norm_k(k), attn.norm_k.weight, norms["norm_k"].weight)
        image_k, image_v = (heads_of(x, 2) for x in adapter.keys_values(normed, 1, heads=2, time=silu))
        image = joint_token_attention(q, k, v, (image_k, image_v), attend)
    assert added.abs().max() > 0.1
    torch.testing.assert_close(F.linear(0.7 * image, attn.to_out[0].weight), added, rtol=0, atol=TOLERANCE)


def test_xlabs_tokens_keys_and_values_are_those_of_diffusers():
    state, adapter = ours("XLabs Flux", channels=64, context=24)
    judge = ImageProjection(image_embed_dim=20, cross_attention_dim=24, num_image_text_embeds=4)
    names = {"image_embeds": "proj", "norm": "norm"}
    for ours_name, theirs in names.items():
        for part in ("weight", "bias"):
            tensor = state[f"ip_adapter_proj_model.{theirs}.{part}"]
            getattr(judge, ours_name).register_parameter(part, torch.nn.Parameter(tensor))
    embeds = random(2, 20)
    tokens = adapter.project(embeds)
    with torch.no_grad():
        torch.testing.assert_close(tokens, judge(embeds), rtol=0, atol=TOLERANCE)
    flux: Any = FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=2, num_single_layers=1, attention_head_dim=32, num_attention_heads=2,
        joint_attention_dim=24, pooled_projection_dim=16, axes_dims_rope=(8, 12, 12),
    )  # fmt: skip
    groups = {
        f"{i}.to_{p}_ip.{part}": state[f"double_blocks.{i}.processor.ip_adapter_double_stream_{p}_proj.{part}"]
        for i in range(2) for p in "kv" for part in ("weight", "bias")
    }  # fmt: skip
    image_proj = {k.removeprefix("ip_adapter_proj_model."): t for k, t in state.items() if k.startswith("ip_adapter_")}
    flux._load_ip_adapter_weights({"image_proj": image_proj, "ip_adapter": groups}, low_cpu_mem_usage=False)
    for i in range(2):
        processor = flux.transformer_blocks[i].attn.processor
        k, v = adapter.keys_values(tokens, i, heads=2)
        with torch.no_grad():
            torch.testing.assert_close(k, processor.to_k_ip[0](tokens), rtol=0, atol=TOLERANCE)
            torch.testing.assert_close(v, processor.to_v_ip[0](tokens), rtol=0, atol=TOLERANCE)


def test_instantx_norms_keys_by_head_and_leaves_values():
    state, adapter = ours("InstantX Flux")
    tokens = adapter.project(random(2, 20))
    k, v = adapter.keys_values(tokens, 3, heads=2)
    raw = F.linear(tokens, state["ip_adapter"]["3.to_k_ip.weight"]).unflatten(-1, (2, 32))
    expected = raw / (raw.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(k.unflatten(-1, (2, 32)), expected, rtol=0, atol=TOLERANCE)
    assert torch.equal(v, F.linear(tokens, state["ip_adapter"]["3.to_v_ip.weight"]))


def test_instantx_tokens_are_linear_gelu_linear_norm():
    state, adapter = ours("InstantX Flux")
    p, x = state["image_proj"], random(3, 20)
    inner = F.gelu(F.linear(x, p["proj.0.weight"], p["proj.0.bias"]))
    rows = F.linear(inner, p["proj.2.weight"], p["proj.2.bias"]).reshape(3, 8, 24)
    expected = F.layer_norm(rows, (24,), p["norm.weight"], p["norm.bias"])
    torch.testing.assert_close(adapter.project(x), expected, rtol=0, atol=TOLERANCE)


def test_rotating_back_undoes_a_rotary_embedding():
    angles = random(1, 1, 7, 4) * 3
    rotation = torch.stack((angles.cos(), -angles.sin(), angles.sin(), angles.cos()), -1).unflatten(-1, (2, 2))
    q = random(2, 3, 7, 8)
    pairs = q.unflatten(-1, (-1, 1, 2))
    turned = (rotation[..., 0] * pairs[..., 0] + rotation[..., 1] * pairs[..., 1]).flatten(-2)  # Flux's apply_rope
    assert (turned - q).abs().max() > 0.5
    torch.testing.assert_close(rotate_back(turned, rotation), q, rtol=0, atol=1e-6)


def test_rows_that_share_tokens_are_folded_without_changing_what_they_attend_to():
    q, k, v = random(4, 2, 5, 8), random(2, 2, 3, 8, seed=2), random(2, 2, 3, 8, seed=3)
    each = token_attention(q, k.repeat_interleave(2, 0), v.repeat_interleave(2, 0), attend)
    assert fold_heads(q, 2).shape == (2, 2, 10, 8)
    torch.testing.assert_close(token_attention(q, k, v, attend), each, rtol=0, atol=1e-6)


def test_the_joint_attention_without_image_tokens_is_self_attention():
    q, k, v = (random(2, 2, 5, 8, seed=seed) for seed in (1, 2, 3))
    none = (k[:, :, :0], v[:, :, :0])
    expected = attend(q, k, v).transpose(1, 2).flatten(2)
    assert torch.equal(joint_token_attention(q, k, v, none, attend), expected)


def test_a_norm_weight_near_zero_is_said_not_to_be_undone():
    assert can_renorm(torch.tensor([0.3, -2.0])) and not can_renorm(torch.tensor([0.3, 1e-4]))

"""diffusers' Flux and SD3.5 with the weights of our tiny models, and their image-prompt adapters, as judges."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_sd3_transformer_checkpoint_to_diffusers,
)
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel, _get_qkv_projections
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor

import tiny_transformers as tiny

PUBLISHED_CHANNELS = 3072  # which diffusers' conversion of Flux takes for granted


def flux(state: Mapping[str, Tensor], double: int = 2, single: int = 2) -> Any:
    """diffusers' Flux with these weights, which ComfyUI names as published."""
    dim = tiny.CHANNELS["flux"]
    padded = {k: _wide(v) if k.endswith(("linear1.weight", "linear1.bias")) else v for k, v in state.items()}
    converted = convert_flux_transformer_checkpoint_to_diffusers(padded)
    for i in range(single):
        block = f"single_transformer_blocks.{i}"
        for kind in ("weight", "bias"):
            parts = state[f"single_blocks.{i}.linear1.{kind}"].split([dim, dim, dim, 4 * dim])
            names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
            converted |= {f"{block}.{name}.{kind}": part for name, part in zip(names, parts, strict=True)}
    model = FluxTransformer2DModel(
        in_channels=64, num_layers=double, num_single_layers=single, attention_head_dim=tiny.HEAD["flux"],
        num_attention_heads=dim // tiny.HEAD["flux"], joint_attention_dim=tiny.TEXT,
        pooled_projection_dim=tiny.POOLED["flux"], guidance_embeds=True,
    )  # fmt: skip
    model.load_state_dict(converted)
    return model.eval()


def _wide(tensor: Tensor) -> Tensor:
    return tensor.new_zeros(7 * PUBLISHED_CHANNELS, *tensor.shape[1:])


def flux_prediction(model: Any, x: Tensor, sigma: float, text: Tensor, pooled: Tensor, embeds: Any = None) -> Tensor:
    """What Flux predicts for a latent (n, 16, h, w), with the image prompts of `embeds`."""
    rows, _, height, width = x.shape
    packed = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    ids = torch.zeros(height // 2, width // 2, 3)
    ids[..., 1], ids[..., 2] = torch.arange(height // 2)[:, None], torch.arange(width // 2)[None]
    with torch.no_grad():
        out = model(
            packed, encoder_hidden_states=text, pooled_projections=pooled, timestep=torch.full((rows,), sigma),
            img_ids=ids.flatten(0, 1), txt_ids=torch.zeros(text.shape[1], 3), guidance=torch.full((rows,), 3.5),
            joint_attention_kwargs={} if embeds is None else {"ip_adapter_image_embeds": embeds}, return_dict=False,
        )[0]  # fmt: skip
    parts = out.unflatten(1, (height // 2, width // 2)).unflatten(3, (16, 2, 2))
    return parts.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def load_xlabs(model: Any, state: Mapping[str, Tensor], scale: float) -> None:
    """diffusers' own reading of an XLabs adapter."""
    names = {f"processor.ip_adapter_double_stream_{part}_proj": f"to_{part}_ip" for part in "kv"}
    groups: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in state.items():
        group = "image_proj" if key.startswith("ip_adapter_proj_model.") else "ip_adapter"
        name = key.partition(".")[2]
        for old, new in names.items():
            name = name.replace(old, new)
        groups[group][name] = tensor
    model._load_ip_adapter_weights(groups, low_cpu_mem_usage=False)
    for block in model.transformer_blocks:
        block.attn.processor.scale = [scale]


def attention(q: Any, k: Any, v: Any) -> Tensor:
    """Attention of (rows, n, heads, width) tensors, as (rows, n, channels)."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class InstantX:
    """InstantX' processor by its published formula, in diffusers' Flux, which has none for it."""

    def __init__(self, k: Tensor, v: Tensor, tokens: Tensor, scale: float) -> None:
        self.k, self.v, self.tokens, self.scale = k, v, tokens, scale

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Any = None, attention_mask: Any = None,
        image_rotary_emb: Any = None,
    ) -> Any:  # fmt: skip
        heads = attn.heads
        parts: Any = _get_qkv_projections(attn, hidden_states, encoder_hidden_states)
        q, k, v, text_q, text_k, text_v = parts
        q, k, v = (x.unflatten(-1, (heads, -1)) for x in (q, k, v))
        q, k = attn.norm_q(q), attn.norm_k(k)
        image = self.attend(q, heads)
        if encoder_hidden_states is not None:
            text_q, text_k, text_v = (x.unflatten(-1, (heads, -1)) for x in (text_q, text_k, text_v))
            text_q, text_k = attn.norm_added_q(text_q), attn.norm_added_k(text_k)
            q, k, v = (torch.cat(pair, 1) for pair in ((text_q, q), (text_k, k), (text_v, v)))
        q, k = (apply_rotary_emb(x, image_rotary_emb, sequence_dim=1) for x in (q, k))
        out = attention(q, k, v)
        if encoder_hidden_states is None:
            return out + self.scale * image
        count = encoder_hidden_states.shape[1]
        return attn.to_out[0](out[:, count:] + self.scale * image), attn.to_add_out(out[:, :count])

    def attend(self, q: Tensor, heads: int) -> Tensor:
        k, v = (F.linear(self.tokens, weight).unflatten(-1, (heads, -1)) for weight in (self.k, self.v))
        k = k * torch.rsqrt(k.square().mean(-1, keepdim=True) + 1e-5)
        k, v = (x.expand(len(q), -1, -1, -1) for x in (k, v))
        return attention(q, k, v)


def load_instantx(model: Any, state: Mapping[str, Mapping[str, Tensor]], embeds: Tensor, scale: float) -> None:
    """InstantX' adapter with the tokens of these embeds, in every block."""
    p, layers = state["image_proj"], state["ip_adapter"]
    inner = F.gelu(F.linear(embeds, p["proj.0.weight"], p["proj.0.bias"]))
    rows = F.linear(inner, p["proj.2.weight"], p["proj.2.bias"]).reshape(len(embeds), -1, len(p["norm.weight"]))
    tokens = F.layer_norm(rows, rows.shape[-1:], p["norm.weight"], p["norm.bias"])
    for i, block in enumerate([*model.transformer_blocks, *model.single_transformer_blocks]):
        pair = (layers[f"{i}.to_k_ip.weight"], layers[f"{i}.to_v_ip.weight"])
        block.attn.processor = InstantX(*pair, tokens, scale)


def sd35(state: Mapping[str, Tensor]) -> Any:
    """diffusers' SD3.5 with these weights, which ComfyUI names as published."""
    dim, head = tiny.CHANNELS["sd3.5"], tiny.HEAD["sd3.5"]
    model = SD3Transformer2DModel(
        sample_size=8, in_channels=16, num_layers=dim // head, attention_head_dim=head, num_attention_heads=dim // head,
        joint_attention_dim=tiny.TEXT, caption_projection_dim=dim, pooled_projection_dim=tiny.POOLED["sd3.5"],
        out_channels=16, pos_embed_max_size=tiny.PLACES, qk_norm="rms_norm",
    )  # fmt: skip
    model.load_state_dict(convert_sd3_transformer_checkpoint_to_diffusers(dict(state)))
    return model.eval()


def load_sd35(model: Any, state: Mapping[str, Any], scale: float) -> None:
    """diffusers' own reading of InstantX' adapter for SD3.5."""
    model._load_ip_adapter_weights(state, low_cpu_mem_usage=False)
    for processor in model.attn_processors.values():
        processor.scale = scale


def sd35_prediction(model: Any, x: Tensor, sigma: float, text: Tensor, pooled: Tensor, embeds: Any = None) -> Tensor:
    """What SD3.5 predicts for a latent (n, 16, h, w), with the image prompts of `embeds`."""
    with torch.no_grad():
        return model(
            x, encoder_hidden_states=text, pooled_projections=pooled, timestep=torch.full((len(x),), sigma * 1000),
            joint_attention_kwargs={} if embeds is None else {"ip_adapter_image_embeds": embeds}, return_dict=False,
        )[0]  # fmt: skip

"""PuLID's published formulas written out, over tensors with the published names. No function of the pack is used."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Tensors = Mapping[str, Tensor]


def under(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t.float() for name, t in tensors.items() if name.startswith(prefix)}


def heads_of(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (heads_of(x, heads) for x in (q, k, v))
    return ((q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v).transpose(1, 2).flatten(2)


def mapped(w: Tensors, name: str, x: Tensor) -> Tensor:
    for linear, norm in ((0, 1), (3, 4)):
        x = F.linear(x, w[f"{name}.{linear}.weight"], w[f"{name}.{linear}.bias"])
        x = F.layer_norm(x, x.shape[-1:], w[f"{name}.{norm}.weight"], w[f"{name}.{norm}.bias"])
        x = F.leaky_relu(x, 0.01)
    return F.linear(x, w[f"{name}.6.weight"], w[f"{name}.6.bias"])


def id_encoder(w: Tensors, ids: Tensor, states: Sequence[Tensor]) -> Tensor:
    out = len(w["mapping_0.6.weight"])
    tokens = [mapped(w, "body", ids).reshape(len(ids), -1, out)]
    for i, state in enumerate(states):
        patches = mapped(w, f"mapping_patch_{i}", state[:, 1:]).mean(1, keepdim=True)
        tokens.append(mapped(w, f"mapping_{i}", state[:, :1]) + patches)
    return torch.cat(tokens, 1)


def id_former(w: Tensors, ids: Tensor, states: Sequence[Tensor]) -> Tensor:
    """ids (n, id) or (n, pictures, id), states (n, pictures * tokens, width)."""
    dim, count = w["latents"].shape[2], w["latents"].shape[1]
    heads = len(w["layers.0.0.to_q.weight"]) // 64
    own = mapped(w, "id_embedding_mapping", ids).reshape(len(ids), -1, dim)
    latents = torch.cat((w["latents"].expand(len(ids), -1, -1), own), 1)

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (dim,), w[f"{name}.weight"], w[f"{name}.bias"])

    for layer in range(10):
        i, name = layer // 2, f"layers.{layer}."
        seen = normed(torch.cat((own, mapped(w, f"mapping_{i}", states[i])), 1), f"{name}0.norm1")
        inner = normed(latents, f"{name}0.norm2")
        k, v = F.linear(torch.cat((seen, inner), 1), w[f"{name}0.to_kv.weight"]).chunk(2, -1)
        q = F.linear(inner, w[f"{name}0.to_q.weight"])
        latents = latents + F.linear(attention(q, k, v, heads), w[f"{name}0.to_out.weight"])
        inner = F.gelu(F.linear(normed(latents, f"{name}1.0"), w[f"{name}1.1.weight"]))
        latents = latents + F.linear(inner, w[f"{name}1.3.weight"])
    return latents[:, :count] @ w["proj_out"]


def joined(
    h: Tensor, q: Tensor, k: Tensor, v: Tensor, heads: int, projection: str, zeros: int, weight: float
) -> Tensor:
    """The attention to the text h (rows, n, channels) with that to the identity, whose k and v are (rows, t, channels),
    and to zero tokens.
    """
    k, v = (F.pad(x, (0, 0, 0, zeros)) for x in (k, v))
    r = attention(q, k, v, heads)
    p = (h * r).sum(-2, keepdim=True) / (h * h).sum(-2, keepdim=True) * h
    if projection == "ortho":
        r = r - p
    if projection == "ortho_v2":
        shares = (heads_of(q, heads) @ heads_of(k, heads).transpose(-2, -1)).softmax(-1).mean(1)
        r = r + (shares[..., :5].sum(-1, keepdim=True) - 1) * p
    return h + weight * r


def crossed(w: Tensors, number: int, img: Tensor, tokens: Tensor) -> Tensor:
    """What a file for Flux adds to the picture (rows, n, width) behind one of its blocks; tokens (rows, t, width)."""

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{number}.{name}.weight"], w[f"{number}.{name}.bias"])

    k, v = F.linear(normed(tokens, "norm1"), w[f"{number}.to_kv.weight"]).chunk(2, -1)
    q = F.linear(normed(img, "norm2"), w[f"{number}.to_q.weight"])
    return F.linear(attention(q, k, v, q.shape[-1] // 128), w[f"{number}.to_out.weight"])


def eva(w: Tensors, pixels: Tensor, heads: int, taps: Sequence[int], reference: int) -> tuple[Tensor, list[Tensor]]:
    """Pooled embeds and the hidden states that enter the blocks `taps`, of tensors with EVA-CLIP's own names.

    `reference` is the side of the grid that positions are counted on, 16 as published.
    """
    patch = w["patch_embed.proj.weight"].shape[-1]
    x = F.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch)
    grid = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat((w["cls_token"].expand(len(x), -1, -1), x), 1) + w["pos_embed"]
    width = x.shape[-1] // heads // 2
    speeds = 10000 ** -(torch.arange(0, width, 2) / width)
    angle = ((torch.arange(grid) / grid * reference)[:, None] * speeds).repeat_interleave(2, 1)
    rows, columns = angle[:, None].expand(-1, grid, -1), angle[None].expand(grid, -1, -1)
    angle = torch.cat((rows, columns), -1).flatten(0, 1)

    def turned(t: Tensor) -> Tensor:
        first, rest = t[:, :, :1], t[:, :, 1:]
        swapped = torch.stack((-rest[..., 1::2], rest[..., 0::2]), -1).flatten(-2)
        return torch.cat((first, rest * angle.cos() + swapped * angle.sin()), 2)

    def normed(t: Tensor, name: str) -> Tensor:
        return F.layer_norm(t, t.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    kept = []
    for i in range(len({name.split(".")[1] for name in w if name.startswith("blocks.")})):
        if i in taps:
            kept.append(x)
        block = f"blocks.{i}."
        n = normed(x, f"{block}norm1")
        q, k, v = (
            heads_of(F.linear(n, w[f"{block}attn.{c}_proj.weight"], w.get(f"{block}attn.{c}_bias")), heads)
            for c in "qkv"
        )
        scores = turned(q) @ turned(k).transpose(-2, -1) / math.sqrt(q.shape[-1])
        seen = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        seen = normed(seen, f"{block}attn.inner_attn_ln")
        x = x + F.linear(seen, w[f"{block}attn.proj.weight"], w[f"{block}attn.proj.bias"])
        n = normed(x, f"{block}norm2")
        gate, up = (F.linear(n, w[f"{block}mlp.{c}.weight"], w[f"{block}mlp.{c}.bias"]) for c in ("w1", "w2"))
        inner = normed(F.silu(gate) * up, f"{block}mlp.ffn_ln")
        x = x + F.linear(inner, w[f"{block}mlp.w3.weight"], w[f"{block}mlp.w3.bias"])
    return F.linear(normed(x, "norm")[:, 0], w["head.weight"], w["head.bias"]), kept

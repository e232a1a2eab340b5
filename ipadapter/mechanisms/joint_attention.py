"""InstantX' adapter for SD3.5: a second attention of the picture to itself and to the image tokens, with the adapter's
own norms, is added to a block's attention.

Published as InstantX/SD3.5-Large-IP-Adapter; files with diffusers' names of its layers are read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import Attend, ImageTokens, Pair
from ..families import SD35
from ..sites import JOINT_BLOCKS
from ..token_attention import unit_heads
from .mechanism import BlockRun, LayerSizes, Mechanism, Normed, linears

EPS = 1e-6  # epsilon of every norm in SD3.5's joint attention, the model's and the adapter's
SAFE_WEIGHT = 1e-3  # norms with an absolute weight below this cannot be divided out
LAYER = re.compile(r"(image_proj\.layers\.\d+\.)(.+)")
DIFFUSERS = {  # diffusers' names of the time resampler's modules (its loaders/transformer_sd3.py): the published names
    "ln0.": "0.norm1.",
    "ln1.": "0.norm2.",
    "attn.to_q.": "0.to_q.",
    "attn.to_kv.": "0.to_kv.",
    "attn.to_out.0.": "0.to_out.",
    "adaln_norm.": "1.0.",
    "ff.net.0.proj.": "1.1.",
    "ff.net.2.": "1.3.",
    "adaln_proj.": "2.1.",
}


class JointAttention(Mechanism):
    name = "joint attention"
    variants = ("InstantX SD3.5",)
    parts = tuple(JOINT_BLOCKS.parts)
    made_for = SD35.name
    timed = joins = stretches = True
    scalings = ("V only",)
    no_picture = "zeros"  # the published code uses hidden states of zeros

    def fits(self, layers: Mapping[str, Tensor]) -> bool:
        return "0.norm_ip.linear.weight" in layers

    def published_name(self, key: str) -> str:
        if match := LAYER.fullmatch(key):
            for old, new in DIFFUSERS.items():
                if match[2].startswith(old):
                    return match[1] + new + match[2].removeprefix(old)
        return key

    def head_width(self, layers: Mapping[str, Tensor]) -> int:
        return len(layers["0.norm_q.weight"]) if "0.norm_q.weight" in layers else 0

    def layer(self, sizes: LayerSizes, operations: Any, **where: Any) -> nn.ModuleDict:
        modules = linears(sizes, operations, **where)
        modules["norm_ip"] = nn.ModuleDict({"linear": operations.Linear(sizes.time, 2 * sizes.context, **where)})
        for norm in ("norm_q", "norm_k", "norm_ip_k"):
            modules[norm] = HeadNorm(sizes.head, **where)
        return modules

    def keys_values(self, layer: nn.ModuleDict, tokens: Tensor, heads: int, time: Tensor | None) -> Pair:
        """`tokens` and `time` are those of `read_by_layers`. The first are scaled and shifted by the second; keys are
        normed once more.
        """
        if time is None:
            raise ValueError("keys and values of SD3.5's adapter depend on the timestep, and none was given")
        shift, scale = cast(nn.ModuleDict, layer["norm_ip"])["linear"](time).unsqueeze(1).chunk(2, dim=-1)
        k, v = super().keys_values(layer, tokens * (1 + scale) + shift, heads, time)
        return layer["norm_ip_k"](k.view(*k.shape[:-1], heads, -1)).flatten(-2), v

    def norms(self, layer: nn.ModuleDict) -> Pair:
        queries, keys = (cast(HeadNorm, layer[name]).weight for name in ("norm_q", "norm_k"))
        return queries, keys

    def in_attention(self, run: BlockRun, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        text = run.text
        queries, keys = run.normed(q[:, :, text:], k[:, :, text:])
        plain = out[:, text:]
        added = add_joint_tokens(plain, queries, keys, v[:, :, text:], run.images(self), run.attend)
        run.show(plain, added)
        return torch.cat((out[:, :text], added), dim=1)


def read_by_layers(tokens: Tensor, time: Tensor) -> Pair:
    """What every layer computes of the resampler's tokens and embedding of the timestep first: a norm, and SiLU."""
    return F.layer_norm(tokens.float(), tokens.shape[-1:], eps=EPS).to(tokens), F.silu(time)


class HeadNorm(nn.Module):
    """Divide every head (..., head width) by its root mean square, then scale it; in float32, as published."""

    def __init__(self, width: int, **where: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, **where), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return (unit_heads(x.float(), EPS) * self.weight.to(x.device, torch.float32)).to(x)


def renorm(x: Tensor, model_weight: Tensor, adapter_weight: Tensor) -> Tensor:
    """Replace the weight of a norm: x was normed with the model's weight, the result has the adapter's, (head width,).

    Both norms divide by the same root mean square, so only the weights differ. The model's weight must not be close to
    0, see `can_renorm`.
    """
    return (x.float() * (adapter_weight / model_weight.to(x.device, torch.float32))).to(x)


def can_renorm(model_weight: Tensor) -> bool:
    """Whether the weight of a norm, (head width,), can be divided out of its output: no value is close to 0."""
    return bool((model_weight.float().abs() >= SAFE_WEIGHT).all())  # float32, because torch cannot compare 8-bit floats


def joint_token_attention(q: Tensor, k: Tensor, v: Tensor, image: Pair, attend: Attend) -> Tensor:
    """Attention of the picture to itself and to the image tokens, (rows, n, channels).

    q, k, v (rows, heads, n, width) are the picture's, q and k with the adapter's norms; `image` has the keys and values
    of the image tokens, (rows, heads, tokens, width).
    """
    rows, heads, n, width = q.shape
    keys, values = torch.cat((k, image[0].to(k)), dim=2), torch.cat((v, image[1].to(v)), dim=2)
    return attend(q, keys, values).transpose(1, 2).reshape(rows, n, heads * width)


def add_joint_tokens(
    out: Tensor, q: Normed, k: Normed, v: Tensor, images: Iterable[ImageTokens], attend: Attend
) -> Tensor:
    """`out` (rows, n, channels) plus the joint attention of every image prompt, times its gain and mask.

    q and k are the picture's queries and keys with the weights of the model's norms; v are its values, (rows, heads, n,
    head width).
    """
    for image in images:
        assert image.norms is not None
        queries, keys = renorm(*q, image.norms[0]), renorm(*k, image.norms[1])
        seen = joint_token_attention(queries, keys, v, (image.keys, image.values), attend)
        out = image.added(out, seen)
    return out

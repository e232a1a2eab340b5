"""Resample any number of encoder tokens to a fixed number of image tokens, by cross-attention.

This is the Perceiver resampler (arXiv:2103.03206, arXiv:2204.14198) with the layers of the published plus adapters.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_DIM = 64  # of every published adapter; the number of heads follows from the rows of to_q


@dataclass(frozen=True)
class ResamplerSizes:
    """Sizes of a resampler: width of encoder tokens, latents, image tokens and inside feed-forwards; heads; layers."""

    embed_dim: int
    dim: int
    out_dim: int
    inner: int
    heads: int
    depth: int


class PerceiverAttention(nn.Module):
    """Attention of latents (b, t, dim) to encoder tokens (b, n, dim) and to themselves -> (b, t, dim)."""

    def __init__(self, dim: int, heads: int, operations: Any = nn, **where: Any) -> None:
        super().__init__()
        inner = heads * HEAD_DIM
        self.norm1 = operations.LayerNorm(dim, **where)
        self.norm2 = operations.LayerNorm(dim, **where)
        self.to_q = operations.Linear(dim, inner, bias=False, **where)
        self.to_kv = operations.Linear(dim, inner * 2, bias=False, **where)
        self.to_out = operations.Linear(inner, dim, bias=False, **where)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        x, latents = self.norm1(x), self.norm2(latents)
        q = self.to_q(latents)
        k, v = self.to_kv(torch.cat((x, latents), dim=1)).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2) for t in (q, k, v))  # (b, heads, tokens, 64)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


def feed_forward(dim: int, inner: int, operations: Any = nn, **where: Any) -> nn.Sequential:
    """A feed-forward layer (..., dim) -> (..., dim): norm, linear to `inner`, GELU, linear back to `dim`."""
    return nn.Sequential(
        operations.LayerNorm(dim, **where),
        operations.Linear(dim, inner, bias=False, **where),
        nn.GELU(),
        operations.Linear(inner, dim, bias=False, **where),
    )


class PerceiverResampler(nn.Module):
    """Encoder tokens (b, n, embed) and initial latents (b, t, dim) -> image tokens (b, t, out)."""

    def __init__(self, sizes: ResamplerSizes, operations: Any = nn, **where: Any) -> None:
        super().__init__()
        self.proj_in = operations.Linear(sizes.embed_dim, sizes.dim, **where)
        self.proj_out = operations.Linear(sizes.dim, sizes.out_dim, **where)
        self.norm_out = operations.LayerNorm(sizes.out_dim, **where)
        self.layers = nn.ModuleList()
        for _ in range(sizes.depth):
            attention = PerceiverAttention(sizes.dim, sizes.heads, operations, **where)
            self.layers.append(nn.ModuleList((attention, feed_forward(sizes.dim, sizes.inner, operations, **where))))

    def resample(self, x: Tensor, latents: Tensor) -> Tensor:
        """Encoder tokens (b, n, embed) and initial latents (b, t, dim) -> image tokens (b, t, out)."""
        x = self.proj_in(x)
        for attention, feed in self.layers:  # pyright: ignore[reportGeneralTypeIssues]  # a pair, see above
            latents = attention(x, latents) + latents
            latents = feed(latents) + latents
        return self.norm_out(self.proj_out(latents))

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        return self.resample(x, latents)


class Resampler(PerceiverResampler):
    """The resampler of plus adapters, with learned initial latents: (b, n, embed) -> (b, tokens, out)."""

    def __init__(self, tokens: int, sizes: ResamplerSizes, operations: Any = nn, **where: Any) -> None:
        super().__init__(sizes, operations, **where)
        self.latents = nn.Parameter(torch.empty(1, tokens, sizes.dim, **where), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # latents are its own
        return self.resample(x, self.latents.to(x).expand(len(x), -1, -1))

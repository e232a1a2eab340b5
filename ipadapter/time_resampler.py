"""The resampler of InstantX's adapter for SD3.5, whose image tokens depend on the timestep.

Source: InstantX/SD3.5-Large-IP-Adapter, models/resampler.py; equal to diffusers' IPAdapterTimeImageProjection.
"""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .resampler import HEAD_DIM, PerceiverAttention, ResamplerSizes, feed_forward


class TimeEmbedding(nn.Module):
    """Timesteps (b,) in 0..1000 -> (b, dim): cosines, then sines, through two linear layers."""

    def __init__(self, sinusoids: int, dim: int, operations: Any = nn, **where: Any) -> None:
        super().__init__()
        self.sinusoids = sinusoids
        self.linear_1 = operations.Linear(sinusoids, dim, **where)
        self.linear_2 = operations.Linear(dim, dim, **where)

    def forward(self, timestep: Tensor) -> Tensor:
        half = self.sinusoids // 2
        steps = torch.arange(half, dtype=torch.float32, device=timestep.device)
        angles = timestep.float().unsqueeze(-1) * torch.exp(steps * (-math.log(10000) / half))
        return self.linear_2(F.silu(self.linear_1(torch.cat((angles.cos(), angles.sin()), -1))))


class TimeAttention(PerceiverAttention):
    """Attention of latents (b, t, dim) to encoder tokens (b, n, dim) and to themselves -> (b, t, dim).

    After their norm, latents are scaled by 1 + `scale` and shifted by `shift`, (b, 1, dim) each, which depend on time.
    """

    def forward(self, x: Tensor, latents: Tensor, shift: Tensor, scale: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # takes the time too
        latents = self.norm2(latents) * (1 + scale) + shift
        q = self.to_q(latents)
        k, v = self.to_kv(torch.cat((self.norm1(x), latents), dim=1)).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2) for t in (q, k, v))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class TimeResampler(nn.Module):
    """Encoder tokens (b, n, embed) and timesteps (b,) -> image tokens (b, tokens, out) and time embedding (b, dim).

    The adapter's norms in the model's blocks use the time embedding too.
    """

    def __init__(self, tokens: int, sizes: ResamplerSizes, sinusoids: int, operations: Any = nn, **where: Any) -> None:
        super().__init__()
        self.time_embedding = TimeEmbedding(sinusoids, sizes.dim, operations, **where)
        self.latents = nn.Parameter(torch.empty(1, tokens, sizes.dim, **where), requires_grad=False)
        self.proj_in = operations.Linear(sizes.embed_dim, sizes.dim, **where)
        self.proj_out = operations.Linear(sizes.dim, sizes.out_dim, **where)
        self.norm_out = operations.LayerNorm(sizes.out_dim, **where)
        self.layers = nn.ModuleList()
        for _ in range(sizes.depth):
            attention = TimeAttention(sizes.dim, sizes.heads, operations, **where)
            modulation = nn.Sequential(nn.SiLU(), operations.Linear(sizes.dim, 4 * sizes.dim, **where))
            feed = feed_forward(sizes.dim, sizes.inner, operations, **where)
            self.layers.append(nn.ModuleList((attention, feed, modulation)))

    def forward(self, x: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        time = self.time_embedding(timestep.to(x.device)).to(x)
        x = self.proj_in(x) + time.unsqueeze(1)
        latents = self.latents.to(x).expand(len(x), -1, -1)
        for layer in self.layers:
            attention, feed, modulation = cast(nn.ModuleList, layer)
            shift, scale, shift_feed, scale_feed = modulation(time).unsqueeze(1).chunk(4, dim=-1)
            latents = attention(x, latents, shift, scale) + latents
            norm, *rest = cast(nn.Sequential, feed)
            inner = norm(latents) * (1 + scale_feed) + shift_feed
            for step in rest:
                inner = step(inner)
            latents = inner + latents
        return self.norm_out(self.proj_out(latents)), time

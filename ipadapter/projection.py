"""From embeds to image tokens: one small network per kind of adapter (IP-Adapter, arXiv:2308.06721, section 3.2).

Parameter names are those of the published files, so a file's `image_proj` group is the network's state dict.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .resampler import PerceiverResampler, ResamplerSizes


class ImageProjection(nn.Module):
    """Pooled embeds (b, embed) -> (b, tokens, context): the standard adapters."""

    def __init__(self, embed_dim: int, tokens: int, context_dim: int, operations: Any = nn, **where: Any) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj = operations.Linear(embed_dim, tokens * context_dim, **where)
        self.norm = operations.LayerNorm(context_dim, **where)

    def forward(self, embeds: Tensor) -> Tensor:
        return self.norm(self.proj(embeds).unflatten(-1, (self.tokens, -1)))


class TokenProjection(nn.Module):
    """Every encoder token becomes an image token, (b, n, embed) -> (b, n, context): the full face adapter."""

    def __init__(self, embed_dim: int, hidden: int, context_dim: int, operations: Any = nn, **where: Any) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            operations.Linear(embed_dim, hidden, **where),
            nn.GELU(),
            operations.Linear(hidden, context_dim, **where),
            operations.LayerNorm(context_dim, **where),
        )

    def forward(self, embeds: Tensor) -> Tensor:
        return self.proj(embeds)


class FaceProjection(nn.Module):
    """A recogniser's face (b, face) -> (b, tokens, context); several faces (b, n, face) -> (b, n * tokens, context)."""

    def __init__(
        self,
        face_dim: int,
        hidden: int,
        tokens: int,
        context_dim: int,
        operations: Any = nn,
        **where: Any,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj = nn.Sequential(
            operations.Linear(face_dim, hidden, **where),
            nn.GELU(),
            operations.Linear(hidden, tokens * context_dim, **where),
        )
        self.norm = operations.LayerNorm(context_dim, **where)

    def forward(self, face: Tensor) -> Tensor:
        tokens = self.norm(self.proj(face).unflatten(-1, (self.tokens, -1)))
        return tokens.flatten(1, -2)


class FacePlusProjection(FaceProjection):
    """Face tokens refined by the encoder tokens of the face picture: FaceID Plus, V2 and Kolors FaceID Plus."""

    def __init__(self, *sizes: int, resampler: ResamplerSizes, operations: Any = nn, **where: Any) -> None:
        super().__init__(*sizes, operations=operations, **where)
        self.perceiver_resampler = PerceiverResampler(resampler, operations, **where)

    def forward(self, face: Tensor, embeds: Tensor, face_weight: float = 1.0, shortcut: bool = False) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # takes both inputs
        """Face (b, face), embeds (b, n, embed) -> (b, tokens, out); V2's shortcut adds face_weight x refinement."""
        tokens = super().forward(face)
        refined = self.perceiver_resampler(embeds, tokens)
        return torch.add(tokens, refined, alpha=face_weight) if shortcut else refined

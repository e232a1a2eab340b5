"""Project embeds to image tokens: a network for each kind of adapter (IP-Adapter, arXiv:2308.06721, section 3.2).

Parameter names are those of published files, so a file's `image_proj` group is the state dict of its network.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .resampler import PerceiverResampler, ResamplerSizes


class ImageProjection(nn.Module):
    """The projection of standard adapters: pooled embeds (b, embed) -> image tokens (b, tokens, context)."""

    def __init__(self, embed_dim: int, tokens: int, context_dim: int, operations: Any = nn, **where: Any) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj = operations.Linear(embed_dim, tokens * context_dim, **where)
        self.norm = operations.LayerNorm(context_dim, **where)

    def forward(self, embeds: Tensor) -> Tensor:
        return self.norm(self.proj(embeds).unflatten(-1, (self.tokens, -1)))


class TokenProjection(nn.Module):
    """The projection of the full face adapter, token by token: (b, n, embed) -> (b, n, context)."""

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
    """The projection of FaceID: a face vector (b, face) -> image tokens (b, tokens, context).

    Several faces (b, n, face) give the tokens of all, (b, n * tokens, context).
    """

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
    """The projection of FaceID Plus, its V2 and Kolors FaceID Plus: a resampler refines the tokens of the face vector
    by the encoder tokens of the face's crop.
    """

    def __init__(self, *sizes: int, resampler: ResamplerSizes, operations: Any = nn, **where: Any) -> None:
        super().__init__(*sizes, operations=operations, **where)
        self.perceiver_resampler = PerceiverResampler(resampler, operations, **where)

    def forward(self, face: Tensor, embeds: Tensor, face_weight: float = 1.0, shortcut: bool = False) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # takes both inputs
        """Face vector (b, face) and hidden states (b, n, embed) of its crop -> image tokens (b, tokens, out).

        The result is the refined tokens; with V2's `shortcut`, the face's tokens plus `face_weight` times the refined.
        """
        tokens = super().forward(face)
        refined = self.perceiver_resampler(embeds, tokens)
        return torch.add(tokens, refined, alpha=face_weight) if shortcut else refined

"""InstantX' adapter for Flux: the attention to image tokens is added to the output of a block's attention.

Published as InstantX/FLUX.1-dev-IP-Adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..attention import Pair
from ..families import FLUX
from ..projection_sizes import Projection
from ..sites import FLUX_BLOCKS
from ..token_attention import add_image_tokens, unit_heads
from .mechanism import BlockRun, Mechanism

KEY_EPS = 1e-5  # epsilon of the norm of keys: root mean square, without a weight


class AttentionOutput(Mechanism):
    name = "attention output"
    variants = ("InstantX Flux",)
    parts = tuple(FLUX_BLOCKS.parts)
    made_for = FLUX.name
    stretches = True

    def fits(self, layers: Mapping[str, Tensor]) -> bool:
        """Whether the key numbers have no gap; those of UNets are odd."""
        return {"0.to_k_ip.weight", "1.to_k_ip.weight"} <= layers.keys()

    def read_projection(self, projection: Projection) -> Projection:
        """The projection has the layers of FaceID's, but its input is a vision encoder's pooled embeds."""
        if projection.kind != "face":
            return projection
        return replace(projection, kind="wide", embed_dim=projection.face_dim, face_dim=None)

    def keys_values(self, layer: nn.ModuleDict, tokens: Tensor, heads: int, time: Tensor | None) -> Pair:
        """Keys are normed, values are not: in the authors' code, the line that norms values is commented out."""
        k, v = super().keys_values(layer, tokens, heads, time)
        return unit_heads(k.unflatten(-1, (heads, -1)), KEY_EPS).flatten(-2), v

    def in_attention(self, run: BlockRun, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Add image prompts to the picture's tokens and, in a single block, to the text's tokens too."""
        text = run.text
        if run.site.block[0] == "single":
            added = add_image_tokens(out, run.queries, run.images(self, text), run.attend)
        else:
            added = add_image_tokens(out[:, text:], run.queries[:, :, text:], run.images(self), run.attend)
            added = torch.cat((out[:, :text], added), dim=1)
        run.show(out, added)
        return added

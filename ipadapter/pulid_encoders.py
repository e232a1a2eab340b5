"""PuLID's encoders: from ids (face vectors) and hidden states of a vision encoder to image tokens of a person.

Source: PuLID (arXiv:2404.16022), ToTheBeginning/PuLID, pulid/encoders.py and encoders_transformer.py. Parameter names
are those of the published files.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .resampler import PerceiverAttention, ResamplerSizes, feed_forward

STATES = 5  # number of hidden states of the vision encoder that both encoders read
OWN_TOKENS = 5  # number of tokens from the id without hidden states
SLOPE = 0.01  # negative slope of the leaky ReLU


def perceptron(into: int, hidden: int, out: int, operations: Any = nn, **where: Any) -> nn.Sequential:
    """Three linear layers with norms between them: (..., into) -> (..., out)."""
    return nn.Sequential(
        operations.Linear(into, hidden, **where),
        operations.LayerNorm(hidden, **where),
        nn.LeakyReLU(SLOPE),
        operations.Linear(hidden, hidden, **where),
        operations.LayerNorm(hidden, **where),
        nn.LeakyReLU(SLOPE),
        operations.Linear(hidden, out, **where),
    )


class IDEncoder(nn.Module):
    """PuLID v1: ids (b, id) and five hidden states (b, n, width), class token first -> (b, 10, out)."""

    def __init__(self, id_dim: int, state_dim: int, hidden: int, out: int, operations: Any = nn, **where: Any) -> None:
        super().__init__()
        self.body = perceptron(id_dim, hidden, OWN_TOKENS * out, operations, **where)
        for i in range(STATES):
            setattr(self, f"mapping_{i}", perceptron(state_dim, hidden, out, operations, **where))
            setattr(self, f"mapping_patch_{i}", perceptron(state_dim, hidden, out, operations, **where))

    def forward(self, ids: Tensor, states: Sequence[Tensor]) -> Tensor:
        """Tokens (b, 10, out) of b pictures: five from the id, then one from each hidden state."""
        tokens = [self.body(ids).unflatten(-1, (OWN_TOKENS, -1))]
        for i, state in enumerate(states):
            whole, patches = getattr(self, f"mapping_{i}"), getattr(self, f"mapping_patch_{i}")
            tokens.append(whole(state[:, :1]) + patches(state[:, 1:]).mean(1, keepdim=True))
        return torch.cat(tokens, dim=1)

    def side_by_side(self, ids: Tensor, states: Sequence[Tensor]) -> Tensor:
        """The tokens of b pictures of a person side by side, (1, 10 + 5 (b - 1), out).

        They are the ten tokens of the first picture, and the five id tokens of each further picture.
        """
        first, *further = self(ids, states)
        return torch.cat((first, *(tokens[:OWN_TOKENS] for tokens in further))).unsqueeze(0)


class IDFormer(nn.Module):
    """PuLID v1.1 and PuLID for Flux: ids (b, id) and five hidden states (b, n, width) -> (b, tokens, out).

    The layers are five groups, and each group attends to a hidden state of its own. Every layer also attends to the
    unchanged tokens of the id. The same tokens are part of the latents, which the layers refine.
    """

    def __init__(
        self, id_dim: int, hidden: int, tokens: int, sizes: ResamplerSizes, operations: Any = nn, **where: Any
    ) -> None:
        super().__init__()
        self.id_embedding_mapping = perceptron(id_dim, hidden, OWN_TOKENS * sizes.dim, operations, **where)
        for i in range(STATES):
            setattr(self, f"mapping_{i}", perceptron(sizes.embed_dim, hidden, sizes.dim, operations, **where))
        self.latents = nn.Parameter(torch.empty(1, tokens, sizes.dim, **where), requires_grad=False)
        self.proj_out = nn.Parameter(torch.empty(sizes.dim, sizes.out_dim, **where), requires_grad=False)
        self.layers = nn.ModuleList()
        for _ in range(sizes.depth):
            attention = PerceiverAttention(sizes.dim, sizes.heads, operations, **where)
            self.layers.append(nn.ModuleList((attention, feed_forward(sizes.dim, sizes.inner, operations, **where))))

    def forward(self, ids: Tensor, states: Sequence[Tensor]) -> Tensor:
        """Tokens (b, tokens, out) of ids (b, id) and hidden states (b, n, width).

        For several pictures a row, ids are (b, pictures, id) and hidden states (b, pictures * n, width).
        """
        own = self.id_embedding_mapping(ids).reshape(len(ids), -1, self.latents.shape[-1])
        latents = torch.cat((self.latents.to(own).expand(len(ids), -1, -1), own), dim=1)
        each = len(self.layers) // STATES
        for i, state in enumerate(states):
            seen = torch.cat((own, getattr(self, f"mapping_{i}")(state)), dim=1)
            for layer in self.layers[i * each : (i + 1) * each]:
                attention, feed = cast(nn.ModuleList, layer)
                latents = attention(seen, latents) + latents
                latents = feed(latents) + latents
        return latents[:, : self.latents.shape[1]] @ self.proj_out.to(latents)

    def side_by_side(self, ids: Tensor, states: Sequence[Tensor]) -> Tensor:
        """Tokens (1, tokens, out) of several pictures of a person, with attention to the hidden states of all."""
        return self(ids.unsqueeze(0), [state.flatten(0, 1).unsqueeze(0) for state in states])

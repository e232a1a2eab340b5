"""PuLID's tokens of several pictures as those of one person, and the tokens that attention may fall on instead."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .adapter import AdapterNetwork


def by_norm(tokens: Tensor) -> Tensor:
    """The mean of pictures, each weighed by the length of all its tokens."""
    lengths = tokens.flatten(1).norm(dim=1)
    return ((lengths / lengths.sum()).view(-1, 1, 1) * tokens).sum(0, keepdim=True)


def longest(tokens: Tensor) -> Tensor:
    """Of every token the one that is longest among the pictures."""
    chosen = tokens.norm(dim=-1, keepdim=True).argmax(0, keepdim=True)
    return tokens.gather(0, chosen.expand(1, -1, tokens.shape[-1]))


# Tokens (pictures, t, width) to (1, t, width); a name that is missing here stands for all pictures side by side.
FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda tokens: tokens.mean(0, keepdim=True),
    "max": lambda tokens: tokens.amax(0, keepdim=True),
    "norm_id": by_norm,
    "max_token": longest,
}
SIDE_BY_SIDE = "concat"
COMBINE = (*FUSIONS, SIDE_BY_SIDE)


def person_tokens(
    network: AdapterNetwork, ids: Tensor, states: Sequence[Tensor], combine: str, noise: float = 0.0, zeros: int = 0
) -> tuple[Tensor, Tensor]:
    """Tokens (1, t, width) for the positive rows and for the negative: the encoder's answer to zeros.

    ids are (pictures, id), states five times (pictures, n, width). `zeros` more tokens hold zeros, so that a query may
    attend to none of the person. `noise` times numbers of 0..1, the same ones in every run, stands in place of all
    zeros.
    """
    generator = torch.Generator().manual_seed(0)

    def nothing(like: Tensor) -> Tensor:
        if noise == 0:
            return torch.zeros_like(like)
        return (noise * torch.rand(like.shape, generator=generator)).to(like)

    side_by_side = combine == SIDE_BY_SIDE
    pictures = len(ids) if side_by_side else 1
    positive = network.identify(ids, states, side_by_side)
    positive = positive if side_by_side else FUSIONS[combine](positive)
    negative = network.identify(nothing(ids[:pictures]), [nothing(state[:pictures]) for state in states], side_by_side)
    more = nothing(positive[:, :1].expand(-1, zeros, -1))
    return torch.cat((positive, more), dim=1), torch.cat((negative, more), dim=1)

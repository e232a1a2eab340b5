"""Combine PuLID's tokens of several pictures of a person, and append tokens of zeros, which have no identity."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .adapter import AdapterNetwork


def by_norm(tokens: Tensor) -> Tensor:
    """The mean (1, t, width) over pictures (pictures, t, width), weighted by the norm of each picture's tokens."""
    lengths = tokens.flatten(1).norm(dim=1)
    return ((lengths / lengths.sum()).view(-1, 1, 1) * tokens).sum(0, keepdim=True)


def longest(tokens: Tensor) -> Tensor:
    """For each token number, the token of largest norm among pictures: (pictures, t, width) -> (1, t, width)."""
    chosen = tokens.norm(dim=-1, keepdim=True).argmax(0, keepdim=True)
    return tokens.gather(0, chosen.expand(1, -1, tokens.shape[-1]))


# Name -> function from tokens (pictures, t, width) to (1, t, width). With SIDE_BY_SIDE, which is not listed here, the
# network joins the pictures itself.
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
    """Tokens (1, t, width) of a person for positive rows, and for negative rows the tokens of ids and states of zeros.

    `ids` are (pictures, id), `states` five tensors (pictures, n, width), `combine` is a name in COMBINE. `zeros` tokens
    of zeros are appended, so that queries may attend to them in place of the person. With `noise` above 0, `noise`
    times random numbers in 0..1, equal in every run, replace all zeros.
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

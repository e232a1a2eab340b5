"""PuLID's tokens of a person: those of several pictures combined, with tokens of zeros, which have no identity."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from .adapter import AdapterNetwork
from .errors import EncoderMismatchError
from .pulid_encoders import STATES, IDEncoder, IDFormer


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


def identify(network: AdapterNetwork, ids: Tensor, states: Sequence[Tensor], side_by_side: bool = False) -> Tensor:
    """PuLID's image tokens (b, tokens, token_dim) of ids (b, id) and five hidden states (b, n, width); an id is a face
    vector and pooled embeds side by side.

    With `side_by_side`, the pictures become a single row, as in the authors' code. Raises EncoderMismatchError for
    inputs of other widths.
    """
    config, widths = network.config, (ids.shape[-1], *(state.shape[-1] for state in states))
    if widths != (config.face_dim, *[config.projection.state_dim] * STATES):
        raise EncoderMismatchError(
            f"{config.variant} needs ids {config.face_dim} wide and {STATES} hidden states "
            f"{config.projection.state_dim} wide, and got {widths[0]} and {widths[1:]}: load the EVA02-CLIP L 336 "
            "encoder, and a face pack whose vectors are 512 wide (antelopev2)."
        )
    encoder = cast(IDEncoder | IDFormer, network.image_proj)
    return encoder.side_by_side(ids, states) if side_by_side else encoder(ids, states)


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
    positive = identify(network, ids, states, side_by_side)
    positive = positive if side_by_side else FUSIONS[combine](positive)
    none = nothing(ids[:pictures]), [nothing(state[:pictures]) for state in states]
    negative = identify(network, *none, side_by_side)
    more = nothing(positive[:, :1].expand(-1, zeros, -1))
    return torch.cat((positive, more), dim=1), torch.cat((negative, more), dim=1)

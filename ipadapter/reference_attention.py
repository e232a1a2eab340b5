"""Self-attention of a picture that looks at references, which the model itself has run on.

A reference is keys and values of the same attention, made from its own noised latent. `share` is its part of the
attention of a row, 0 to 1. Swap takes that part from what the attention gave the picture (at share 1: Visual Style
Prompting, arXiv:2402.12974). Compete puts all keys into one softmax, where queries choose. Both let the picture's
queries take the mean and deviation of the reference's (AdaIN, as in StyleAligned, arXiv:2312.02133).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from .weighed_attention import LOG_OF_ZERO, is_number

Share = float | Tensor  # of all rows and tokens, or (1 or rows, 1 or tokens, 1)
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q, k, v (rows, tokens, channels) -> (rows, tokens, channels)
SMALL = 1e-5  # added to a deviation before the division by it


class Moments(NamedTuple):
    """Mean and deviation of every channel over the tokens, (1 or rows, 1, channels) each, in float32."""

    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Seen:
    """What one attention sees of one reference: keys and values (1 or rows, tokens, channels), and its share.

    `images` pictures stand behind each other in the tokens. `match` is how far queries go towards the moments of the
    reference's; `queries` and `keys` are those moments, which are read where `match` is not 0.
    """

    k: Tensor
    v: Tensor
    share: Share
    competes: bool = False
    images: int = 1
    match: float = 0.0
    queries: Moments | None = None
    keys: Moments | None = None


def moments(x: Tensor) -> Moments:
    """Mean and deviation of x (rows, tokens, channels) over its tokens."""
    x = x.float()
    return Moments(x.mean(-2, keepdim=True), x.std(-2, keepdim=True, unbiased=False))


def matched(x: Tensor, towards: Sequence[tuple[float, Moments]]) -> Tensor:
    """x (rows, tokens, channels) on its way to other moments: to each so far, on average over all of them."""
    own, plain = moments(x), x.float()
    normed = (plain - own.mean) / (own.deviation + SMALL)
    steps = [match * (normed * of.deviation + of.mean - plain) for match, of in towards]
    return (plain + torch.stack(steps).mean(0)).to(x.dtype)


def look(
    own: Callable[[], Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, seen: Sequence[Seen], attend: Attend
) -> Tensor:
    """What a picture's rows get from self-attention once they look at references, (rows, tokens, channels).

    `own` gives what the attention is without references; it is called only where some of it is left. `attend` is the
    host's attention. References of both methods share one total.
    """
    total = sum(one.share for one in seen)
    over = total.clamp(min=1.0) if isinstance(total, Tensor) else max(1.0, total)
    if towards := [(one.match, one.queries) for one in seen if one.queries]:
        q = matched(q, towards)
    swaps = [(one.share / over, one) for one in seen if not one.competes]
    competing = [(one.share / over, one) for one in seen if one.competes]
    parts = [_times(share, attend(q, _of_rows(one.k, q), _of_rows(one.v, q))) for share, one in swaps]
    if competing:
        base = compete(own, q, k, v, heads, competing)
        return sum(parts, (1 - sum(share for share, _ in swaps)) * base)
    if not isinstance(total, Tensor) and total >= 1:
        return sum(parts[1:], parts[0])
    return sum(parts, (1 - total / over) * own())


def compete(
    own: Callable[[], Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    references: Sequence[tuple[Share, Seen]],
) -> Tensor:
    """Attention over the keys of the picture and of references, whose weights are their shares.

    Rows without a share get `own`, which another node's patch may have made.
    """
    total = sum(share for share, _ in references)
    if towards := [(one.match, one.keys) for _, one in references if one.keys]:
        k = matched(k, towards)
    keys = torch.cat([k, *(_of_rows(one.k, q) for _, one in references)], 1)
    values = torch.cat([v, *(_of_rows(one.v, q) for _, one in references)], 1)
    columns = [_column(1 - total, k)] + [_column(share / one.images, one.k) for share, one in references]
    rows, tokens = (max(column.shape[axis] for column in columns) for axis in (0, 1))
    weights = torch.cat([column.expand(rows, tokens, -1) for column in columns], 2)
    bias = torch.where(weights > 0, weights.log(), LOG_OF_ZERO).unsqueeze(1).to(q.dtype)
    q, keys, values = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, keys, values))
    out = scaled_dot_product_attention(q, keys, values, attn_mask=bias).transpose(1, 2).flatten(2)
    return torch.where(total > 0, out, own()) if isinstance(total, Tensor) else out


def _times(share: Share, out: Tensor) -> Tensor:
    return out if is_number(share, 1.0) else share * out


def _of_rows(x: Tensor, like: Tensor) -> Tensor:
    """Keys or values for every row: one picture's serve all of them."""
    return x.expand(len(like), -1, -1)


def _column(weight: Share, keys: Tensor) -> Tensor:
    """The weight of every row on some keys, (1 or rows, 1 or tokens, keys), in float32."""
    weight = weight if isinstance(weight, Tensor) else torch.full((1, 1, 1), weight, device=keys.device)
    return weight.float().expand(-1, -1, keys.shape[1])

"""Self-attention of a picture with the keys and values of riding references.

A reference has keys and values of the same attention, from the model's run on its noised latent. `share`, 0 to 1, is
its part of a row's attention. *Swap* mixes outputs: share times the attention to the reference, the rest of the
picture's own (at share 1: Visual Style Prompting, arXiv:2402.12974). *Compete* puts the keys of picture and references
into one softmax. With both, the picture's queries can take mean and deviation of the reference's (AdaIN, as in
StyleAligned, arXiv:2312.02133).

In a transformer, text and picture share one attention: the keys beside the picture's (`Beside`) have weight 1.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from .weighed_attention import LOG_OF_ZERO

Share = float | Tensor  # a number for all rows and tokens, or (1 or rows, 1 or tokens, 1)
# q, k, v (rows, tokens, channels), and in a transformer a bias of the logits or None -> (rows, tokens, channels)
Attend = Callable[..., Tensor]
Biases = dict[Hashable, Tensor]  # by the shares and numbers of all keys, where shares are numbers
SMALL = 1e-5  # added to a deviation before the division by it


class Moments(NamedTuple):
    """Mean and deviation of every channel over the tokens, (1 or rows, 1, channels) each, in float32."""

    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Seen:
    """A reference in one attention: keys and values (1 or rows, tokens, channels), and its share.

    The tokens are those of `images` pictures, joined in order. `match`, 0 to 1, is how far the picture's queries and
    keys go towards the moments `queries` and `keys` of the reference, which are not read if `match` is 0.
    """

    k: Tensor
    v: Tensor
    share: Share
    competes: bool = False
    images: int = 1
    match: float = 0.0
    queries: Moments | None = None
    keys: Moments | None = None


@dataclass(frozen=True)
class Beside:
    """Keys and values of a joint attention beside the picture's, such as the text's, (rows, tokens, channels).

    `bias` is what the model adds to the logits, (rows or 1, heads or 1, picture or 1, picture + tokens).
    """

    k: Tensor
    v: Tensor
    bias: Tensor | None = None

    def attend(self, attend: Attend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention to these keys and to a reference's, k and v, in place of the picture's own."""
        bias = None if self.bias is None else pad(self.bias[..., -self.k.shape[1] :], (0, k.shape[1]))
        return attend(q, torch.cat((self.k, k), 1), torch.cat((self.v, v), 1), bias)


def moments(x: Tensor) -> Moments:
    """Mean and standard deviation of x (rows, tokens, channels) over its tokens."""
    x = x.float()
    return Moments(x.mean(-2, keepdim=True), x.std(-2, keepdim=True, unbiased=False))


def matched(x: Tensor, towards: Sequence[tuple[float, Moments]]) -> Tensor:
    """x (rows, tokens, channels), moved towards the moments of references: by each one's `match`, averaged over all."""
    own, plain = moments(x), x.float()
    normed = (plain - own.mean) / (own.deviation + SMALL)
    steps = [match * (normed * of.deviation + of.mean - plain) for match, of in towards]
    return (plain + torch.stack(steps).mean(0)).to(x.dtype)


def look(
    own: Callable[[], Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    seen: Sequence[Seen],
    attend: Attend,
    biases: Biases,
    beside: Beside | None = None,
) -> Tensor:
    """The output of a self-attention with references, (rows, tokens, channels); q, k, v are the picture's.

    `own` computes the attention without references; it is called at most once, and only if the shares leave a part for
    it. `attend` is the host's attention. `biases` are those of earlier attentions of the same model call. Shares of
    references with either method count towards one total.
    """
    see = attend if beside is None else partial(beside.attend, attend)
    shares, towards, swaps, competing = [], [], [], []
    for one in seen:  # in every layer of every step; each comprehension would be a call more
        shares.append(one.share)
        (competing if one.competes else swaps).append(one)
        if one.queries is not None:
            towards.append((one.match, one.queries))
    total = sum(shares[1:], start=shares[0])
    over = total.clamp(min=1.0) if isinstance(total, Tensor) else max(1.0, total)
    if towards:
        q = matched(q, towards)
    parts, swapped = [], 0.0
    for one in swaps:
        share = one.share / over
        out = see(q, _of_rows(one.k, q), _of_rows(one.v, q))
        parts.append(out if isinstance(share, float) and share == 1 else share * out)
        swapped = swapped + share
    if competing:
        competitors = [(one.share / over, one) for one in competing]
        if swaps:  # the others compete for what these leave
            left = 1 - swapped
            some = left.clamp(min=SMALL) if isinstance(left, Tensor) else max(left, SMALL)
            competitors = [(share / some, one) for share, one in competitors]
        return sum(parts, (1 - swapped) * compete(own, q, k, v, heads, competitors, biases, beside))
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
    biases: Biases,
    beside: Beside | None = None,
) -> Tensor:
    """Attention over the keys of the picture and of references, weighed by their shares, and over those beside.

    Rows in which all shares are 0 get `own`, which may be the output of another pack's patch.
    """
    shares = [share for share, _ in references]
    total = sum(shares[1:], start=shares[0])
    if towards := [(one.match, one.keys) for _, one in references if one.keys]:
        k = matched(k, towards)
    keys, values, columns = [k], [v], [(1 - total, k.shape[1])]
    if beside is not None:
        keys, values, columns = [k, beside.k], [v, beside.v], [*columns, (1.0, beside.k.shape[1])]
    for share, one in references:
        keys.append(_of_rows(one.k, q))
        values.append(_of_rows(one.v, q))
        columns.append((share / one.images, one.k.shape[1]))
    key = (*columns, q.device, q.dtype)
    if isinstance(total, Tensor):
        bias = log_of_columns(columns, q)
    elif (bias := biases.get(key)) is None:
        bias = biases[key] = log_of_columns(columns, q)
    if beside is not None and beside.bias is not None:
        bias = bias + pad(beside.bias, (0, bias.shape[-1] - beside.bias.shape[-1]))
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, torch.cat(keys, 1), torch.cat(values, 1)))
    out = scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
    return torch.where(total > 0, out, own()) if isinstance(total, Tensor) else out


def log_of_columns(columns: Sequence[tuple[Share, int]], like: Tensor) -> Tensor:
    """The logarithms of the weights of keys, (1 or rows, 1, 1 or tokens, keys), in the dtype and on the device of
    `like`. Each of `columns` is a weight and its number of keys.
    """
    parts = []
    for weight, keys in columns:
        weights = weight if isinstance(weight, Tensor) else torch.full((1, 1, 1), weight, device=like.device)
        parts.append(weights.float().expand(-1, -1, keys))
    rows, tokens = (max(part.shape[axis] for part in parts) for axis in (0, 1))
    weights = torch.cat([part.expand(rows, tokens, -1) for part in parts], 2)
    return torch.where(weights > 0, weights.log(), LOG_OF_ZERO).unsqueeze(1).to(like.dtype)


def _of_rows(x: Tensor, like: Tensor) -> Tensor:
    """Keys or values for every row; a single entry is expanded to all rows."""
    return x.expand(like.shape[0], -1, -1)

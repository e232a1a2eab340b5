"""How PuLID joins its attention to that of the text, so that a person changes the rest of the picture less.

PuLID (arXiv:2404.16022), ToTheBeginning/PuLID, pulid/attention_processor.py. With h the attention to the text, r the
attention to the identity's tokens and p the part of r along h, channel by channel over the whole picture:

    none      h + r
    ortho     h + r - p
    ortho_v2  h + r + (a - 1) p, with a the share of attention that the first five tokens get

All are straight lines in r, so a weight in the values stays exact.
"""

from collections.abc import Callable

import torch
from torch import Tensor

FIRST = 5  # tokens whose share of the attention counts: those of the id vector in PuLID v1

# (h, r, queries, keys) -> what is added to h. h, r and queries are (rows, n, channels), keys (groups, heads, tokens,
# channels / heads), where a group is one row or several neighbours.
Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def along(text: Tensor, seen: Tensor) -> Tensor:
    """The part of `seen` along `text` (rows, n, channels), in float32: the sums run over thousands of tokens.

    Where a channel of the text's attention is 0 everywhere, no part lies along it.
    """
    h, r = text.float(), seen.float()
    size = (h * h).sum(1, keepdim=True)
    return torch.where(size > 0, (h * r).sum(1, keepdim=True) / size, 0) * h


def first_share(queries: Tensor, keys: Tensor) -> Tensor:
    """The share of attention (rows, n, 1) that the first five tokens get in the mean over heads, in float32.

    As published, scores are not divided by the square root of a head's width.
    """
    groups, heads = keys.shape[:2]
    q = queries.reshape(groups, -1, heads, queries.shape[-1] // heads).transpose(1, 2).float()
    share = (q @ keys.float().transpose(-2, -1)).softmax(-1)[..., :FIRST].sum(-1)  # (groups, heads, rows of it * n)
    return share.mean(1).reshape(*queries.shape[:2], 1)


def ortho(text: Tensor, seen: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """Only what is orthogonal to the attention to the text."""
    return (seen - along(text, seen)).to(seen)


def ortho_v2(text: Tensor, seen: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """As `ortho`, and all of it where the queries attend to the person."""
    return (seen + (first_share(queries, keys) - 1) * along(text, seen)).to(seen)


RULES: dict[str, Rule | None] = {"ortho_v2": ortho_v2, "ortho": ortho, "none": None}

"""PuLID's rules for adding the attention to a person to that of the text, with less change to the rest of the picture.

Source: PuLID (arXiv:2404.16022), ToTheBeginning/PuLID, pulid/attention_processor.py. With h the attention to the text,
r the attention to the identity's tokens, and p the projection of r on h, channel by channel over the whole picture:

    none      h + r
    ortho     h + r - p
    ortho_v2  h + r + (a - 1) p, with a the share of attention that the first five tokens get

All rules are linear in r, so a weight on the values scales the added part exactly.
"""

from collections.abc import Callable

import torch
from torch import Tensor

FIRST = 5  # number of tokens in the share of attention a: in PuLID v1, the tokens of the id vector

# (h, r, queries, keys) -> the tensor to add to h. h, r and queries are (rows, n, channels), keys (groups, heads,
# tokens, channels / heads), where a group is a row or several consecutive rows.
Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def along(text: Tensor, seen: Tensor) -> Tensor:
    """The projection of `seen` on `text`, both (rows, n, channels), for each channel over the n tokens.

    It is computed in float32, since the sums run over thousands of tokens, and is 0 for channels where `text` is 0.
    """
    h, r = text.float(), seen.float()
    size = (h * h).sum(1, keepdim=True)
    return torch.where(size > 0, (h * r).sum(1, keepdim=True) / size, 0) * h


def first_share(queries: Tensor, keys: Tensor) -> Tensor:
    """The share of attention (rows, n, 1) on the first five tokens, averaged over heads, in float32.

    As in the published code, scores are not divided by the square root of the head width.
    """
    groups, heads = keys.shape[:2]
    q = queries.reshape(groups, -1, heads, queries.shape[-1] // heads).transpose(1, 2).float()
    share = (q @ keys.float().transpose(-2, -1)).softmax(-1)[..., :FIRST].sum(-1)  # (groups, heads, rows per group * n)
    return share.mean(1).reshape(*queries.shape[:2], 1)


def ortho(text: Tensor, seen: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """The rule r - p: the part of the attention to the person that is orthogonal to the attention to the text."""
    return (seen - along(text, seen)).to(seen)


def ortho_v2(text: Tensor, seen: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
    """The rule r + (a - 1) p: `ortho`, plus p times the share of attention on the first tokens."""
    return (seen + (first_share(queries, keys) - 1) * along(text, seen)).to(seen)


RULES: dict[str, Rule | None] = {"ortho_v2": ortho_v2, "ortho": ortho, "none": None}

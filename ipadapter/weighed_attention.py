"""Attention with weights for the keys of references: softmax(q kᵀ / √D + log w) v.

A key of weight w counts like w equal keys: weight 0 removes it, and weight 1 is the model's own attention. A reference
that has a share m of a row's attention at weight 1 has w m / (1 - m + w m) at weight w. OminiControl
(arXiv:2411.15098) adds the same logarithm for its single condition image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .sequences import Layout

# In place of log 0: e to this power is 0 in every float format. Attentions that process the keys in parts give NaN if
# a whole part has a bias of minus infinity.
LOG_OF_ZERO = -1e4

Weight = float | Tensor  # of all rows, or (rows of the batch or 1, tokens or 1, 1)
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]  # q, k, v, bias -> (b, tokens, channels)


@dataclass(frozen=True)
class Heard:
    """The weights of a reference's keys: `head` for rows of text and picture, a number or (rows or 1, text + picture,
    1); `others` for rows of other references, a number or (rows or 1, 1, 1).
    """

    head: Weight
    others: Weight


@dataclass(frozen=True)
class Group:
    """A slice of an attention's rows, and for every reference the weight of its keys in these rows."""

    rows: slice
    weights: tuple[Weight, ...]

    @property
    def deaf(self) -> tuple[int, ...]:
        """The numbers, from 0, of the references whose keys have weight 0 in all of these rows."""
        return tuple(r for r, weight in enumerate(self.weights) if is_number(weight, 0.0))

    @property
    def natural(self) -> bool:
        """Whether every reference has the weight 0 or 1, so that the model's own attention can be used."""
        return all(is_number(weight, 1.0) or is_number(weight, 0.0) for weight in self.weights)


def is_number(weight: Weight, number: float) -> bool:
    return isinstance(weight, float) and weight == number


def groups_of(layout: Layout, rows: int, heard: Sequence[Heard]) -> list[Group]:
    """The rows of an attention in groups of equal weights: text and picture, then each reference.

    In rows of the picture, the keys of a reference have its weight; in rows of the text and of other references, the
    mean of its weight over the picture; in its own rows, 1. Rows of text that attended to a reference of weight 0 would
    pass it on to the picture in the next block. `rows` is smaller than the number of keys if a cache holds the keys of
    references and their rows are left out.
    """
    head = Group(slice(0, layout.head), tuple(one.head for one in heard))
    of_references = [
        Group(span, tuple(1.0 if r == own else one.others for r, one in enumerate(heard)))
        for own, span in enumerate(layout.references)
    ]
    return [head, *of_references] if rows == layout.keys else [head]


def log_bias(layout: Layout, group: Group, like: Tensor) -> Tensor:
    """The logarithms of the weights of a group's keys, (rows or 1, 1, tokens or 1, keys), without keys of weight 0, in
    the dtype and on the device of `like`.
    """
    sized = enumerate(zip(group.weights, layout.sizes, strict=True))
    logs = [(_log(weight).to(like), size) for r, (weight, size) in sized if r not in group.deaf]
    rows, tokens = (max(log.shape[axis] for log, _ in logs) for axis in (0, 1))
    parts = [like.new_zeros(rows, tokens, layout.head), *(log.expand(rows, tokens, size) for log, size in logs)]
    return torch.cat(parts, dim=2).unsqueeze(1)


def _log(weight: Weight) -> Tensor:
    """The logarithm of a weight, (rows or 1, tokens or 1, 1) in float32."""
    weights = weight.float() if isinstance(weight, Tensor) else torch.full((1, 1, 1), float(weight))
    return torch.where(weights > 0, weights.clamp_min(torch.finfo(torch.float32).tiny).log(), LOG_OF_ZERO)


def weighed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: Layout,
    groups: Sequence[Group],
    plain: Attend,
    biased: Attend,
    mask: Tensor | None = None,
    bias_of: Callable[[Layout, Group, Tensor], Tensor] = log_bias,
) -> list[Tensor]:
    """The output of the attention for every group of rows, computed by `plain` or `biased`.

    q, k, v are (b, heads, tokens, width); `mask`, which the model adds to the logits, is (b or 1, heads or 1, rows or
    1, keys). Keys of weight 0 are left out. If all others have weight 1, `plain`, the model's own attention, computes
    the group. Other weights become a bias, which `biased` must support.
    """
    outs = []
    for group in groups:
        queries, keys, values = q[:, :, group.rows], heard_keys(k, 2, layout, group), heard_keys(v, 2, layout, group)
        of_rows = mask if mask is None or mask.shape[2] == 1 else mask[:, :, group.rows]
        bias = None if of_rows is None else heard_keys(of_rows, 3, layout, group)
        if group.natural:
            outs.append(plain(queries, keys, values, bias))
            continue
        logs = bias_of(layout, group, q)
        outs.append(biased(queries, keys, values, logs if bias is None else logs + bias))
    return outs


def heard_keys(x: Tensor, axis: int, layout: Layout, group: Group) -> Tensor:
    """The entries of x for keys whose weight in a group is not 0; `axis` is the axis of the keys."""
    deaf = group.deaf
    if not deaf:
        return x
    first = layout.references[deaf[0]].start
    behind = [span for r, span in enumerate(layout.references) if r > deaf[0] and r not in deaf]
    parts = [x.narrow(axis, 0, first), *(x.narrow(axis, span.start, span.stop - span.start) for span in behind)]
    return torch.cat(parts, dim=axis) if behind else parts[0]

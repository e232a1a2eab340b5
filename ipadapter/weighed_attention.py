"""Attention with weights for the keys of references: softmax(q kᵀ / √D + log w) v.

A key of weight w counts like w equal keys: weight 0 removes it, and weight 1 is the model's own attention. A reference
that has a share m of a row's attention at weight 1 has w m / (1 - m + w m) at weight w. OminiControl
(arXiv:2411.15098) adds the same logarithm for its single condition image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .sequences import Layout

# In place of log 0: e to this power is 0 in every float format. Attentions that process the keys in parts give NaN if
# a whole part has a bias of minus infinity.
LOG_OF_ZERO = -1e4

Weight = float | Tensor  # of all rows, or (rows of the batch or 1, tokens or 1, 1)
# q, k, v, heads, bias -> (b, tokens, channels)
Attend = Callable[[Tensor, Tensor, Tensor, int, Tensor | None], Tensor]


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

    @cached_property  # asked in every layer; a property would be a call more each time
    def deaf(self) -> tuple[int, ...]:
        """The numbers, from 0, of the references whose keys have weight 0 in all of these rows."""
        return tuple(r for r, weight in enumerate(self.weights) if is_number(weight, 0.0))

    @cached_property
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
    logs = [(_log(weight, like).to(like), size) for r, (weight, size) in sized if r not in group.deaf]
    rows, tokens = (max(log.shape[axis] for log, _ in logs) for axis in (0, 1))
    parts = [like.new_zeros(rows, tokens, layout.head), *(log.expand(rows, tokens, size) for log, size in logs)]
    return torch.cat(parts, dim=2).unsqueeze(1)


def _log(weight: Weight, like: Tensor) -> Tensor:
    """The logarithm of a weight, (rows or 1, tokens or 1, 1) in float32; of a number on the device of `like`, because
    the host would wait for a copy there in every step of a schedule.
    """
    weights = weight.float() if isinstance(weight, Tensor) else like.new_full((1, 1, 1), weight, dtype=torch.float32)
    return torch.where(weights > 0, weights.clamp_min(torch.finfo(torch.float32).tiny).log(), LOG_OF_ZERO)


def biases_of(layout: Layout, groups: Sequence[Group], like: Tensor) -> list[Tensor | None]:
    """The bias of every group, see `log_bias`; None for groups whose weights are all 0 or 1."""
    return [None if group.natural else log_bias(layout, group, like) for group in groups]


def weighed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    layout: Layout,
    groups: Sequence[Group],
    biases: Sequence[Tensor | None],
    plain: Attend,
    biased: Attend,
    mask: Tensor | None = None,
) -> list[Tensor]:
    """The output of the attention for every group of rows, computed by `plain` or `biased`.

    q, k, v are (b, heads, tokens, width); `mask`, which the model adds to the logits, is (b or 1, heads or 1, rows or
    1, keys). Keys of weight 0 are left out. If all others have weight 1, `plain`, the model's own attention, computes
    the group. Other weights become a bias, see `biases_of`, which `biased` must support.
    """
    outs = []
    first = groups[0].deaf  # rows of heard references have the same keys as those of text and picture
    of_first = heard_keys(k, 2, layout, first), heard_keys(v, 2, layout, first)
    for group, logs in zip(groups, biases, strict=True):
        keys, values = of_first
        if group.deaf != first:
            keys, values = heard_keys(k, 2, layout, group.deaf), heard_keys(v, 2, layout, group.deaf)
        bias = logs
        if mask is not None:
            of_rows = mask if mask.shape[2] == 1 else mask[:, :, group.rows]
            own = heard_keys(of_rows, 3, layout, group.deaf)
            bias = own if logs is None else logs + own
        outs.append((plain if logs is None else biased)(q[:, :, group.rows], keys, values, heads, bias))
    return outs


def heard_keys(x: Tensor, axis: int, layout: Layout, deaf: Sequence[int]) -> Tensor:
    """The entries of x for keys of all references but those numbers; `axis` is the axis of the keys."""
    if not deaf:
        return x
    first = layout.references[deaf[0]].start
    behind = [span for r, span in enumerate(layout.references) if r > deaf[0] and r not in deaf]
    parts = [x.narrow(axis, 0, first), *(x.narrow(axis, span.start, span.stop - span.start) for span in behind)]
    return torch.cat(parts, dim=axis) if behind else parts[0]

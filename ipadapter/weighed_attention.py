"""Attention in which references weigh more or less: softmax(q kᵀ / √D + log w) v.

A key of weight w counts as if it were there w times: with weight 0 it is not there, and with weight 1 the attention is
the model's own. If a reference has a share m of a row's attention at weight 1, it has w m / (1 - m + w m) at weight w.
OminiControl (arXiv:2411.15098) puts the same logarithm on its one condition image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .sequences import Layout

# Stands for log 0: e to this power is 0 in every float format. Minus infinity would become NaN in attentions that go
# through the keys in parts, where a whole part has it.
LOG_OF_ZERO = -1e4

Weight = float | Tensor  # of all rows, or (rows of the batch or 1, tokens or 1, 1)
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]  # q, k, v, bias -> (b, tokens, channels)


@dataclass(frozen=True)
class Heard:
    """How much a reference is heard: by the rows of text and picture, with a tensor (rows or 1, text + picture, 1); and
    by the rows of other references, with a tensor (rows or 1, 1, 1).
    """

    head: Weight
    others: Weight


@dataclass(frozen=True)
class Group:
    """Neighbouring rows that give the keys of every reference one weight each, or weights by the same tensor."""

    rows: slice
    weights: tuple[Weight, ...]

    @property
    def deaf(self) -> tuple[int, ...]:
        """The references that none of these rows hears, counted from 0."""
        return tuple(r for r, weight in enumerate(self.weights) if is_number(weight, 0.0))

    @property
    def natural(self) -> bool:
        """Whether all references that these rows hear have the weight 1."""
        return all(is_number(weight, 1.0) or is_number(weight, 0.0) for weight in self.weights)


def is_number(weight: Weight, number: float) -> bool:
    return isinstance(weight, float) and weight == number


def groups_of(layout: Layout, rows: int, heard: Sequence[Heard]) -> list[Group]:
    """The rows of an attention by what they hear: those of text and picture, then those of each reference.

    Rows of the picture give the keys of a reference its weight, rows of the text and of other references the mean of
    its weight over the picture, and its own rows give 1. If one of these kept hearing a reference of weight 0, its rows
    would carry the reference to the picture's in the next block. `rows` are fewer than the keys where a cache has the
    keys of references and leaves out their rows.
    """
    head = Group(slice(0, layout.head), tuple(one.head for one in heard))
    of_references = [
        Group(span, tuple(1.0 if r == own else one.others for r, one in enumerate(heard)))
        for own, span in enumerate(layout.references)
    ]
    return [head, *of_references] if rows == layout.keys else [head]


def log_bias(layout: Layout, group: Group, like: Tensor) -> Tensor:
    """The logarithms of the weights that a group's rows give the keys they hear, (rows or 1, 1, tokens or 1, keys), in
    the type and on the device of `like`.
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
    """What every group of rows gets, as `plain` and `biased` give it.

    q, k, v are (b, heads, tokens, width); `mask`, which the model adds to the logits, is (b or 1, heads or 1, rows or
    1, keys). Keys that a group does not hear are left out, so that `plain`, the model's own attention, serves the group
    unless weights other than 0 and 1 are left. These become a bias, which not every attention takes: `biased` must.
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
    """The entries of x for keys that a group hears; `axis` is that of the keys."""
    deaf = group.deaf
    if not deaf:
        return x
    first = layout.references[deaf[0]].start
    behind = [span for r, span in enumerate(layout.references) if r > deaf[0] and r not in deaf]
    parts = [x.narrow(axis, 0, first), *(x.narrow(axis, span.start, span.stop - span.start) for span in behind)]
    return torch.cat(parts, dim=axis) if behind else parts[0]

"""Attend to image tokens beside text tokens: decoupled cross-attention (IP-Adapter, arXiv:2308.06721, eq. 5)."""

from collections.abc import Callable

import torch
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # q, k, v (b, heads, n, width), heads -> (b, heads, n, width)
Weight = float | Tensor  # a number, or one per row: (rows, 1, 1)
Scaling = Callable[[Tensor, Tensor, Weight], tuple[Tensor, Tensor]]

FULL_WIDTH = 1280  # channels of the widest layers of SD1.5 and SDXL, where the channel penalty is 1


def scale_values(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """The published rule: the weight scales what the image attention returns."""
    return k, _times(v, weight)


def scale_keys_and_values(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """The weight also flattens or sharpens the attention over the image tokens."""
    return _times(k, weight), _times(v, weight)


def scale_with_channel_penalty(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """Narrow layers, which hold fine detail, follow the image less."""
    return scale_keys_and_values(k, v, _penalty(k, weight))


def scale_mean_with_channel_penalty(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """Only the mean of the values is scaled; their differences between tokens stay, so weights above 1 burn less."""
    penalty = _penalty(k, weight)
    mean = v.mean(dim=-2, keepdim=True)
    return _times(k, penalty), (v - mean) + mean * penalty


SCALINGS: dict[str, Scaling] = {
    "V only": scale_values,
    "K+V": scale_keys_and_values,
    "K+V w/ C penalty": scale_with_channel_penalty,
    "K+mean(V) w/ C penalty": scale_mean_with_channel_penalty,
}


Pair = tuple[Tensor, Tensor]


def at_weight(none: Pair, full: Pair, weight: float) -> Pair:
    """K and V at a weight, from those scaled for weights 0 and 1: every scaling is a straight line in between.

    One operation for both, because a schedule pays it in every layer of every step.
    """
    k, v = torch._foreach_lerp(none, full, weight)  # pyright: ignore[reportPrivateImportUsage]
    return k, v


def fold_queries(q: Tensor, groups: int, heads: int) -> Tensor:
    """(rows, n, channels) -> (groups, heads, rows / groups * n, channels / heads).

    The rows of a group share their image tokens, so folding them into one sequence spares copying K and V for every
    row.
    """
    return q.reshape(groups, -1, heads, q.shape[-1] // heads).transpose(1, 2)


def image_attention(queries: Tensor, k: Tensor, v: Tensor, attend: Attend, shape: torch.Size) -> Tensor:
    """Attention of every query to the image tokens, in `shape` (rows, n, channels).

    queries come from `fold_queries`; k and v are (groups, heads, tokens, channels / heads).
    """
    return attend(queries, k, v, k.shape[1]).transpose(1, 2).reshape(shape)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(groups, tokens, channels) -> (groups, heads, tokens, channels / heads), contiguous, ready for attention."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous()


def add_image_attention(out: Tensor, image: Tensor, gain: Tensor | None) -> Tensor:
    """Add the image attention to the text attention, both (rows, n, channels); gain is (rows or 1, n or 1, 1), a mask
    usually.

    One operation either way, and the same bits for a gain of ones as for none, because multiplying by 1 is exact.
    """
    return out + image if gain is None else torch.addcmul(out, image, gain)


def _times(x: Tensor, weight: Weight) -> Tensor:
    return x if isinstance(weight, float) and weight == 1.0 else x * weight


def _penalty(k: Tensor, weight: Weight) -> Weight:
    return weight * (k.shape[-1] / FULL_WIDTH)

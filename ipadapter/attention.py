"""Attend to image tokens beside text tokens: decoupled cross-attention (IP-Adapter, arXiv:2308.06721, eq. 5)."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .pulid_rules import Rule

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


# Every scaling is a straight line in the weight, for K and for V: `at_weight` interpolates the K and V of a schedule's
# weight between those of 0 and 1.
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


class ImageTokens(NamedTuple):
    """Keys and values of an image prompt in one layer, (groups, heads, tokens, channels / heads) each, as `split_heads`
    gives them; `mask` is (rows or 1, n or 1, 1), None where it is 1 everywhere.

    Rows are divided evenly into groups: from one group for a whole batch to one for every row.
    `gain` and `norms` are for adapters that attend to image tokens and the picture's own together, so that values
    cannot carry the weight: the factor of the attention's output, and the adapter's own norms of queries and keys.
    `rule` makes of the attention what is added to the text's; without one all of it is. `layer` holds the adapter's
    modules of the site, for adapters with queries of their own.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None = None
    gain: float = 1.0
    norms: Pair | None = None
    rule: Rule | None = None
    layer: nn.Module | None = None


def decoupled_attention(text: Tensor, q: Tensor, images: Iterable[ImageTokens], attend: Attend) -> Tensor:
    """Attention to text plus attention to every image prompt: text + sum of mask * Attention(q, keys, values).

    Equation 5 of the paper; the weight is in keys and values already (SCALINGS). `text` is what the attention to the
    text tokens gave, (rows, n, channels) like the projected queries `q`, and so is what comes back. `attend` is
    the attention itself, torch's scaled_dot_product_attention say.
    """
    out = text
    queries: dict[int, Tensor] = {}  # one operation, shared by prompts with as many groups
    for image in images:
        groups, heads = image.keys.shape[:2]
        if groups not in queries:
            # The rows of a group share their image tokens. Folding them into one sequence, (groups, heads, rows /
            # groups * n, width), spares copying keys and values for every row.
            queries[groups] = q.reshape(groups, -1, heads, q.shape[-1] // heads).transpose(1, 2)
        seen = attend(queries[groups], image.keys, image.values, heads).transpose(1, 2).reshape(q.shape)
        if image.rule is not None:
            seen = image.rule(text, seen, q, image.keys)
        # One operation either way. A mask of ones gives the same bits as no mask, because multiplying by 1 is exact.
        out = out + seen if image.mask is None else torch.addcmul(out, seen, image.mask)
    return out


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(groups, tokens, channels) -> (groups, heads, tokens, channels / heads), contiguous, ready for attention."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2).contiguous()


def _times(x: Tensor, weight: Weight) -> Tensor:
    return x if isinstance(weight, float) and weight == 1.0 else x * weight


def _penalty(k: Tensor, weight: Weight) -> Weight:
    return weight * min(1.0, k.shape[-1] / FULL_WIDTH)  # transformers are wider, and equally wide everywhere

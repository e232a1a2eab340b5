"""Attend to image tokens beside text tokens: decoupled cross-attention (IP-Adapter, arXiv:2308.06721, eq. 5)."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .pulid_rules import Rule

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q, k, v (b, heads, n, width) -> (b, heads, n, width)
Weight = float | Tensor  # a number, or one per row: (rows, 1, 1)
Scaling = Callable[[Tensor, Tensor, Weight], tuple[Tensor, Tensor]]

FULL_WIDTH = 1280  # channels of the widest layers of SD1.5 and SDXL, where the channel penalty is 1


def scale_values(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """The published rule: the weight multiplies the values, and so the output of the image attention."""
    return k, _times(v, weight)


def scale_keys_and_values(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """The weight multiplies keys and values, so it also flattens or sharpens the attention over the image tokens."""
    return _times(k, weight), _times(v, weight)


def scale_with_channel_penalty(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """As `scale_keys_and_values`, with the weight times channels / 1280: narrow layers, which hold fine detail, follow
    the image less.
    """
    return scale_keys_and_values(k, v, _penalty(k, weight))


def scale_mean_with_channel_penalty(k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    """Scale the mean of the values over tokens, not their differences, so that weights above 1 oversaturate less."""
    penalty = _penalty(k, weight)
    mean = v.mean(dim=-2, keepdim=True)
    return _times(k, penalty), (v - mean) + mean * penalty


# Scaled keys and values must be linear in the weight, because `at_weight` interpolates between those of 0 and 1.
SCALINGS: dict[str, Scaling] = {
    "V only": scale_values,
    "K+V": scale_keys_and_values,
    "K+V w/ C penalty": scale_with_channel_penalty,
    "K+mean(V) w/ C penalty": scale_mean_with_channel_penalty,
}


Pair = tuple[Tensor, Tensor]


def at_weight(none: Pair, full: Pair, weight: float) -> Pair:
    """Keys and values at a weight, interpolated between those scaled for the weights 0 and 1 (all SCALINGS are linear).

    A single operation for both, because schedules run it in every layer of every step.
    """
    k, v = torch._foreach_lerp(none, full, weight)  # pyright: ignore[reportPrivateImportUsage]
    return k, v


class ImageTokens(NamedTuple):
    """Keys and values of an image prompt in one layer, (groups, heads, tokens, channels / heads) each, as `split_heads`
    returns them; `mask` is (rows or 1, n or 1, 1), None if it is 1 everywhere.

    The rows are divided evenly into groups: a single group for the whole batch, up to a group per row.
    `gain` multiplies the attention's output, where values do not carry the weight: a schedule changes it at every step,
    and image tokens may share an attention with the picture's. For the latter, `norms` are the weights of the adapter's
    own norms of queries and keys. `rule` turns the image attention into the term that is added to the text attention;
    without a rule the term is the image attention. `layer` has the adapter's modules of the site, for adapters with own
    queries.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor | None = None
    gain: float = 1.0
    norms: Pair | None = None
    rule: Rule | None = None
    layer: nn.Module | None = None

    def added(self, out: Tensor, seen: Tensor) -> Tensor:
        """`out` plus what these tokens give, `seen` (rows, n, channels), times gain and mask: a single operation."""
        if self.mask is None:
            return torch.add(out, seen, alpha=self.gain)
        return torch.addcmul(out, seen, self.mask, value=self.gain)


def decoupled_attention(text: Tensor, q: Tensor, images: Iterable[ImageTokens], attend: Attend) -> Tensor:
    """Attention to text plus attention to every image prompt: text + sum of gain * mask * Attention(q, keys, values).

    Equation 5 of the paper; the weight is in keys and values (SCALINGS) or in the gain. `text`, the output of the
    attention to the text tokens, the projected queries `q` and the result are (rows, n, channels). `attend` computes
    attention, for example with torch's scaled_dot_product_attention.
    """
    out = text
    queries: dict[int, Tensor] = {}  # number of groups -> reshaped queries, shared by prompts with as many groups
    for image in images:
        groups, heads = image.keys.shape[:2]
        if groups not in queries:
            # The rows of a group share their image tokens, so they are folded into one sequence, (groups, heads, rows /
            # groups * n, width), instead of copying keys and values for every row.
            queries[groups] = q.reshape(groups, -1, heads, q.shape[-1] // heads).transpose(1, 2)
        seen = attend(queries[groups], image.keys, image.values).transpose(1, 2).reshape(q.shape)
        if image.rule is not None:
            seen = image.rule(text, seen, q, image.keys)
        # As `ImageTokens.added`, which would be one more Python call in every layer of every step. A mask of ones gives
        # the same bits, since times 1 is exact.
        if image.mask is None:
            out = torch.add(out, seen, alpha=image.gain)
        else:
            out = torch.addcmul(out, seen, image.mask, value=image.gain)
    return out


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(groups, tokens, channels) -> (groups, heads, tokens, channels / heads), contiguous for attention kernels."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2).contiguous()


def _times(x: Tensor, weight: Weight) -> Tensor:
    return x if isinstance(weight, float) and weight == 1.0 else x * weight


def _penalty(k: Tensor, weight: Weight) -> Weight:
    return weight * min(1.0, k.shape[-1] / FULL_WIDTH)  # 1 for diffusion transformers, whose layers are all wider

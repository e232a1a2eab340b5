"""Attention of a diffusion transformer's queries to image tokens, from the q, k and v that a host's hooks show.

Every formula gives only what image tokens add; the model's own attention stays as it is. q is (rows, heads, n, head
width).
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from .attention import Attend, ImageTokens


def rotate_back(q: Tensor, rotation: Tensor) -> Tensor:
    """q before its rotary embedding: every pair of channels times the transpose of its rotation, in float32.

    rotation is Flux's `pe`, (1 or rows, 1, n, head width / 2, 2, 2); rotations are orthogonal, so only
    rounding is lost.
    """
    pairs = q.float().unflatten(-1, (-1, 2))
    return torch.einsum("...ij,...i->...j", rotation.float(), pairs).flatten(-2).to(q)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """x (rows, heads, n, head width) with a rotary embedding, `rotation` as for rotate_back, in float32."""
    pairs = x.float().unflatten(-1, (-1, 2))
    return torch.einsum("...ij,...j->...i", rotation.float(), pairs).flatten(-2).to(x)


def unit_heads(x: Tensor, eps: float) -> Tensor:
    """Vectors (..., width) divided by their root mean square, computed in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x)


def fold_heads(q: Tensor, groups: int) -> Tensor:
    """(rows, heads, n, width) -> (groups, heads, rows / groups * n, width): rows of a group share their tokens."""
    rows, heads, n, width = q.shape
    if groups == rows:
        return q
    return q.reshape(groups, rows // groups, heads, n, width).transpose(1, 2).flatten(2, 3)


def token_attention(q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
    """Attention of every query to the image tokens alone, (rows, n, channels).

    k and v are (groups, heads, tokens, width), as `image_prompt.arrange` gives them.
    """
    rows, heads, n, width = q.shape
    return attend(fold_heads(q, k.shape[0]), k, v).transpose(1, 2).reshape(rows, n, heads * width)


def add_image_tokens(out: Tensor, q: Tensor, images: Iterable[ImageTokens], attend: Attend) -> Tensor:
    """`out` (rows, n, channels) plus what every image prompt gives the queries q (rows, heads, n, width)."""
    for image in images:
        seen = token_attention(q, image.keys, image.values, attend)
        out = image.added(out, seen)
    return out

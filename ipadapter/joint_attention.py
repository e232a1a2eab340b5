"""Image prompts in the joint attention of diffusion transformers, from the q, k and v that a host's hooks show.

Every formula gives only what is added; the joint attention itself stays as it is. q is (rows, heads, n, head width).
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from .attention import Attend, ImageTokens

SAFE_WEIGHT = 1e-3  # a norm's weight nearer to 0 cannot be divided out


def rotate_back(q: Tensor, rotation: Tensor) -> Tensor:
    """q before its rotary embedding: every pair of channels times the transpose of its rotation, in float32.

    rotation is Flux's `pe`, (1 or rows, 1, n, head width / 2, 2, 2); rotations are orthogonal, so nothing is lost but
    rounding.
    """
    pairs = q.float().unflatten(-1, (-1, 2))
    return torch.einsum("...ij,...i->...j", rotation.float(), pairs).flatten(-2).to(q)


def fold_heads(q: Tensor, groups: int) -> Tensor:
    """(rows, heads, n, width) -> (groups, heads, rows / groups * n, width): rows of a group share their tokens."""
    if groups == len(q):
        return q
    rows, heads, n, width = q.shape
    return q.reshape(groups, rows // groups, heads, n, width).transpose(1, 2).flatten(2, 3)


def token_attention(q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
    """Attention of every query to the image tokens alone, (rows, n, channels): both Flux adapters.

    k and v are (groups, heads, tokens, width), as `image_prompt.arrange` gives them.
    """
    rows, heads, n, width = q.shape
    return attend(fold_heads(q, len(k)), k, v, heads).transpose(1, 2).reshape(rows, n, heads * width)


def renorm(x: Tensor, model_weight: Tensor, adapter_weight: Tensor) -> Tensor:
    """x, normed with the model's weight, as if it had been normed with the adapter's, both (head width,).

    Both norms divide by the same root mean square, so only the weights differ. Where the model's is nearly 0 the value
    cannot be had back; `can_renorm` says so.
    """
    return (x.float() * (adapter_weight.float() / model_weight.to(x.device, torch.float32))).to(x)


def can_renorm(model_weight: Tensor) -> bool:
    """Whether a norm's weight can be divided out of what it gave."""
    return bool((model_weight.float().abs() >= SAFE_WEIGHT).all())  # 8-bit types compare with nothing


def joint_token_attention(q: Tensor, k: Tensor, v: Tensor, image: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
    """Attention of the picture to itself and to the image tokens, (rows, n, channels): SD3.5's adapter.

    q, k, v (rows, heads, n, width) are the picture's, with the adapter's norms; image holds its K and V, (groups,
    heads, tokens, width).
    """
    rows, heads, n, width = q.shape
    keys, values = (
        torch.cat((own, of_image.repeat_interleave(rows // len(of_image), 0).to(own)), dim=2)
        for own, of_image in zip((k, v), image, strict=True)
    )
    return attend(q, keys, values, heads).transpose(1, 2).reshape(rows, n, heads * width)


def add_image_tokens(out: Tensor, q: Tensor, images: Iterable[ImageTokens], attend: Attend) -> Tensor:
    """`out` (rows, n, channels) plus what every image prompt gives the queries q (rows, heads, n, width): both Flux
    adapters; the weight is in the values already.
    """
    for image in images:
        seen = token_attention(q, image.keys, image.values, attend)
        out = out + seen if image.mask is None else torch.addcmul(out, seen, image.mask)
    return out


Normed = tuple[Tensor, Tensor]  # a tensor (rows, heads, n, head width), and the weight that it was normed with


def add_joint_tokens(
    out: Tensor, q: Normed, k: Normed, v: Tensor, images: Iterable[ImageTokens], attend: Attend
) -> Tensor:
    """`out` (rows, n, channels) plus what every image prompt gives a picture whose normed queries and keys, and
    values, are q, k and v: SD3.5's adapter.
    """
    for image in images:
        assert image.norms is not None
        queries, keys = (renorm(*normed, weight) for normed, weight in zip((q, k), image.norms, strict=True))
        seen = joint_token_attention(queries, keys, v, (image.keys, image.values), attend)
        if image.mask is None:
            out = torch.add(out, seen, alpha=image.gain)
        else:
            out = torch.addcmul(out, seen, image.mask, value=image.gain)
    return out

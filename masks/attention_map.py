"""Where a picture listens to its references, collected while it is sampled.

How much of a cross-attention's output comes from image prompts: |image| / (|text| + |image|), per token.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Seen:
    """The share of one layer at one moment, (frames, rows, columns); `frames` are their numbers in the batch."""

    percent: float
    layer: int
    frames: tuple[int, ...]
    share: Tensor


def image_share(text: Tensor, image: Tensor, grid: tuple[int, int]) -> Tensor:
    """|image| / (|text| + |image|) of (frames, tokens, channels) each, as (frames, rows, columns), 0 to 1."""
    own, other = image.float().norm(dim=-1), text.float().norm(dim=-1)
    return (own / (own + other).clamp_min(torch.finfo(torch.float32).tiny)).unflatten(1, grid).cpu()


def _stretched(shares: Tensor) -> Tensor:
    least, most = shares.amin((1, 2), keepdim=True), shares.amax((1, 2), keepdim=True)
    return (shares - least) / (most - least).clamp_min(torch.finfo(torch.float32).tiny)


CONTRAST: dict[str, Callable[[Tensor], Tensor]] = {
    "stretched": _stretched,  # each picture from 0 at its least to 1 at its most
    "share": lambda shares: shares,
}


def attention_map(
    seen: Sequence[Seen] | None, layers: Collection[int], start: float, end: float, size: tuple[int, int], contrast: str
) -> Tensor:
    """The mean share over some layers and a range of sampling, (frames, height, width), 0 to 1.

    All 0 where no reference acted. ValueError where nobody looked on (`seen` is None).
    """
    if seen is None:
        raise ValueError(
            "Nothing was recorded. Let the sampler run with the recorder's model, and change its seed if ComfyUI kept "
            "its picture from an earlier run."
        )
    chosen = [one for one in seen if one.layer in layers and start <= one.percent <= end]
    total = torch.zeros(1 + max((max(one.frames) for one in chosen), default=0), *size)
    counts = torch.zeros(len(total), 1, 1)
    for one in chosen:
        index = torch.tensor(one.frames)
        total[index] += F.interpolate(one.share[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        counts[index] += 1
    return CONTRAST[contrast](total / counts.clamp_min(1))

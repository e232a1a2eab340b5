"""Where a picture listens to its references, measured while it is sampled.

The measure is the share of a cross-attention's output that comes from image prompts: |image| / (|text| + |image|), per
token.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Seen:
    """The share in one layer at one sampling percent, (frames, rows, columns); `frames` are the frames' numbers in the
    batch.
    """

    percent: float
    layer: int
    frames: tuple[int, ...]
    share: Tensor


def image_share(text: Tensor, image: Tensor, grid: tuple[int, int]) -> Tensor:
    """|image| / (|text| + |image|) of two outputs (frames, tokens, channels), as (frames, rows, columns), 0 to 1."""
    image_norm, text_norm = image.float().norm(dim=-1), text.float().norm(dim=-1)
    return (image_norm / (image_norm + text_norm).clamp_min(torch.finfo(torch.float32).tiny)).unflatten(1, grid).cpu()


def _stretched(shares: Tensor) -> Tensor:
    least, most = shares.amin((1, 2), keepdim=True), shares.amax((1, 2), keepdim=True)
    return (shares - least) / (most - least).clamp_min(torch.finfo(torch.float32).tiny)


CONTRAST: dict[str, Callable[[Tensor], Tensor]] = {
    "stretched": _stretched,  # each frame from 0 at its least share to 1 at its greatest
    "share": lambda shares: shares,
}


def attention_map(
    seen: Sequence[Seen] | None, layers: Collection[int], start: float, end: float, size: tuple[int, int], contrast: str
) -> Tensor:
    """The mean share over `layers` and the sampling percents from `start` to `end`, (frames, height, width), 0 to 1.

    All 0 if no reference acted there. ValueError without a recording (`seen` is None).
    """
    if seen is None:
        raise ValueError(
            "The attention recorder holds no recording. Let the sampler run with the recorder's model. If ComfyUI "
            "took the picture from an earlier run, change the sampler's seed."
        )
    chosen = [record for record in seen if record.layer in layers and start <= record.percent <= end]
    total = torch.zeros(1 + max((max(record.frames) for record in chosen), default=0), *size)
    counts = torch.zeros(len(total), 1, 1)
    for record in chosen:
        index = torch.tensor(record.frames)
        total[index] += F.interpolate(record.share[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        counts[index] += 1
    return CONTRAST[contrast](total / counts.clamp_min(1))

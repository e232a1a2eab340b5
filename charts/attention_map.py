"""Where a picture listens to its references, measured while it is sampled.

The measure is a share per token: for image prompts, that of a cross-attention's output which comes from them,
|image| / (|text| + |image|); for an edit model's own reference, the part of the attention that it gets.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Seen:
    """The share in one layer at one sampling percent, (frames, rows, columns); `frames` are the frames' numbers in the
    batch. `reference` is the number of an edit model's own reference, from 1, or 0 for all references of the map.
    """

    percent: float
    layer: int
    frames: tuple[int, ...]
    share: Tensor
    reference: int = 0


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
    seen: Sequence[Seen] | None,
    layers: Collection[int],
    start: float,
    end: float,
    size: tuple[int, int],
    contrast: str,
    reference: int = 0,
) -> Tensor:
    """The mean share over `layers` and the sampling percents from `start` to `end`, (frames, height, width), 0 to 1.

    All 0 if no reference acted there. ValueError without a recording (`seen` is None), or for the number of a
    `reference` that was not recorded.
    """
    if seen is None:
        raise ValueError(
            "The attention recorder holds no recording. Let the sampler run with the recorder's model. If ComfyUI "
            "took the picture from an earlier run, change the sampler's seed."
        )
    recorded = max((record.reference for record in seen), default=0)
    if reference > recorded:
        raise ValueError(
            f"The recording has no reference {reference}: it has {recorded} of the model's own. Those are recorded "
            "behind IPAdapter Reference Weights; 0 shows all references together."
        )
    seen = [record for record in seen if record.reference == reference]
    chosen = [record for record in seen if record.layer in layers and start <= record.percent <= end]
    total = torch.zeros(1 + max((max(record.frames) for record in chosen), default=0), *size)
    counts = torch.zeros(len(total), 1, 1)
    for record in chosen:
        index = torch.tensor(record.frames)
        total[index] += F.interpolate(record.share[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        counts[index] += 1
    return CONTRAST[contrast](total / counts.clamp_min(1))

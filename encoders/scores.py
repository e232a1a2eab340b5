"""How near pictures come to references and to a prompt: CLIP-I and CLIP-T (IP-Adapter, arXiv:2308.06721, section 4)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..ipadapter.errors import EncoderMismatchError


@dataclass(frozen=True)
class Score:
    """One picture's scores; None is not measured."""

    clip_i: float | None = None
    clip_t: float | None = None


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (n, m) of pooled embeds (n, d) and (m, d); EncoderMismatchError for anything else."""
    for embeds in (one, other):
        if embeds.ndim != 2:
            raise EncoderMismatchError(
                f"Scores need pooled embeds, one vector per picture, and this encoder gives {tuple(embeds.shape)}: "
                "load a SigLIP with IPAdapter OpenCLIP Loader, which has its pooling head."
            )
    if one.shape[-1] != other.shape[-1]:
        raise EncoderMismatchError(
            f"Pictures' embeds are {one.shape[-1]} wide and the text's {other.shape[-1]}: both must come from one file."
        )
    return F.normalize(one.float(), dim=-1) @ F.normalize(other.float(), dim=-1).T


def score(pictures: Tensor, references: Tensor | None = None, prompt: Tensor | None = None) -> list[Score]:
    """CLIP-I, the mean cosine with all references (m, d), and CLIP-T, that with the prompt (1, d), of every picture."""
    near = [None] * len(pictures) if references is None else similarity(pictures, references).mean(1).tolist()
    told = [None] * len(pictures) if prompt is None else similarity(pictures, prompt).mean(1).tolist()
    return [Score(*pair) for pair in zip(near, told, strict=True)]


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean over pictures, of what was measured."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return Score(mean([s.clip_i for s in scores]), mean([s.clip_t for s in scores]))


def table(names: Sequence[dict[str, object]], scores: Sequence[Score]) -> str:
    """CSV with one row per picture: what names it, then its scores; empty cells were not measured."""
    text = io.StringIO()
    columns = [*(names[0] if names else ()), "CLIP-I", "CLIP-T"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for name, found in zip(names, scores, strict=True):
        writer.writerow({**name, "CLIP-I": _cell(found.clip_i), "CLIP-T": _cell(found.clip_t)})
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def knee(scores: Sequence[Score]) -> int | None:
    """The number of the point where more of one measure begins to cost more of the other than it brings.

    Both measures are stretched to 0..1 over the curve; the knee is the point farthest above the line from all of one
    to all of the other (Satopaa et al. 2011, "Finding a Kneedle in a Haystack"). None where no point lies above it,
    or a measure does not change at all.
    """
    points = [(s.clip_i, s.clip_t) for s in scores if s.clip_i is not None and s.clip_t is not None]
    if len(points) != len(scores) or len(points) < 3:
        return None
    stretched = []
    for values in zip(*points, strict=True):
        low, high = min(values), max(values)
        if high == low:
            return None
        stretched.append([(value - low) / (high - low) for value in values])
    above = [x + y - 1 for x, y in zip(*stretched, strict=True)]
    best = max(range(len(above)), key=above.__getitem__)
    return best if above[best] > 1e-6 else None  # ends lie on the line but for rounding

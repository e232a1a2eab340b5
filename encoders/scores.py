"""Measure pictures against references and a prompt: CLIP-I and CLIP-T (IP-Adapter, arXiv:2308.06721, section 4)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..ipadapter.errors import EncoderMismatchError


@dataclass(frozen=True)
class Score:
    """The scores of a picture, -1 to 1; None if not measured."""

    clip_i: float | None = None
    clip_t: float | None = None
    face: float | None = None  # mean cosine of face vectors with those of the references


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (n, m) of pooled embeds (n, d) and (m, d).

    Raises:
        EncoderMismatchError: the embeds are not pooled, or their widths differ.
    """
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
    """Scores of pictures, by pooled embeds (n, d): CLIP-I, the mean cosine with references (m, d), and CLIP-T, the
    cosine with the prompt (1, d).

    Raises:
        EncoderMismatchError: embeds are not pooled, or their widths differ.
    """
    clip_i = [None] * len(pictures) if references is None else similarity(pictures, references).mean(1).tolist()
    clip_t = [None] * len(pictures) if prompt is None else similarity(pictures, prompt).mean(1).tolist()
    return [Score(*pair) for pair in zip(clip_i, clip_t, strict=True)]


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean of each score over the pictures that have it."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return Score(mean([s.clip_i for s in scores]), mean([s.clip_t for s in scores]), mean([s.face for s in scores]))


def table(names: Sequence[dict[str, object]], scores: Sequence[Score]) -> str:
    """CSV with a row per picture: the columns that name it, then its scores; a score that is None is an empty cell.

    The column of faces is there if any picture has such a score.
    """
    text = io.StringIO()
    of_faces = any(s.face is not None for s in scores)
    rows = []
    for name, found in zip(names, scores, strict=True):
        face = {"face": _cell(found.face)} if of_faces else {}
        rows.append({**name, "CLIP-I": _cell(found.clip_i), "CLIP-T": _cell(found.clip_t), **face})
    writer = csv.DictWriter(text, rows[0] if rows else ("CLIP-I", "CLIP-T"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def knee(scores: Sequence[Score]) -> int | None:
    """The index of the curve's knee: the best compromise between CLIP-I and CLIP-T, beyond which either costs more of
    the other than it gains.

    Both scores are scaled to 0..1 over the curve; the knee is the point farthest above the line x + y = 1 (Satopaa et
    al. 2011, "Finding a Kneedle in a Haystack"). None if no point lies above the line, a score is constant or not
    measured, or there are fewer than three points.
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
    return best if above[best] > 1e-6 else None  # the ends lie on the line, up to rounding

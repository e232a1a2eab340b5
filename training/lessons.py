"""What the drawings of a model are compared with: what critics see and say, and the colours of their references."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from .adapter import Examples
from .judges import Classifier

TEXTURE, LIKENESS, COLOURS, WORD = 0.03, 0.1, 1.0, 0.1  # what the parts weigh
DIRECTIONS = 8  # in which colours are compared


@dataclass(frozen=True)
class Critics:
    """Who says what a drawing shows: some look for its texture, others for its word.

    Without the latter, drawings grew patterns in which a classifier of words saw no figure at all.
    """

    textures: Sequence[Classifier]
    words: Sequence[Classifier]


@dataclass
class Lessons:
    """n styles, and the other picture of each, whose features are shown as the reference."""

    examples: dict[str, Examples]
    kinds: Tensor  # (n,) number of each style's texture
    others: Tensor  # (n, 3, h, w) the other pictures, in bytes
    critics: Critics
    likeness: Tensor  # (critics, n, 96) what critics of textures see in the other pictures
    spread: Tensor  # (critics, 1, 96) its deviation


@torch.no_grad()
def lessons_of(examples: dict[str, Examples], kinds: Tensor, critics: Critics, others: Tensor) -> Lessons:
    """Lessons from each style's texture, and its other picture (n, 3, h, w) in bytes."""
    where = next(critics.textures[0].parameters()).device
    seen = [[critic.seen(rows.to(where) / 255).cpu() for rows in others.split(256)] for critic in critics.textures]
    likeness = torch.stack([torch.cat(rows) for rows in seen])
    return Lessons(examples, kinds, others, critics, likeness, likeness.std(1, keepdim=True) + 1e-3)


def compare(pictures: Tensor, lessons: Lessons, styles: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """How far drawings (n, 3, h, w) in 0..1 are from what was asked for: a texture, a likeness, colours and a word."""
    kinds, likeness = lessons.kinds[styles].to(pictures.device), lessons.likeness[:, styles].to(pictures)
    seen = torch.stack([critic.seen(pictures) for critic in lessons.critics.textures])
    said = [critic.head(one) for critic, one in zip(lessons.critics.textures, seen, strict=True)]
    read = [critic(pictures) for critic in lessons.critics.words]
    return (
        TEXTURE * wrong(said, kinds)
        + LIKENESS * (((seen - likeness) / lessons.spread.to(pictures)) ** 2).mean()
        + COLOURS * colours_apart(pictures, lessons.others[styles].to(pictures) / 255, generator)
        + WORD * wrong(read, words.to(pictures.device))
    )


def wrong(said: Sequence[Tensor], answers: Tensor) -> Tensor:
    """How little critics expect the answers (n,), on average."""
    return torch.stack([cross_entropy(one, answers) for one in said]).mean()


def colours_apart(one: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """How far each picture's colours would have to move to become the other's; where they lie does not matter.

    The sliced Wasserstein distance (Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing").
    """
    directions = normalize(torch.randn(3, DIRECTIONS, generator=generator).to(one), dim=0)
    moved = [(pictures.flatten(2).transpose(1, 2) @ directions).sort(1).values for pictures in (one, other)]
    return (moved[0] - moved[1]).abs().mean()

"""What the drawings of a model are compared with: what critics see and say, and the colours of their references."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from .adapter import Examples
from .judges import Classifier

# What the parts weigh.
TEXTURE, WORD, COLOURS = 0.03, 0.1, 1.0
LIKENESS, FIGURE, LEANING = 0.1, 0.15, 0.75
DIRECTIONS = 8  # in which colours are compared


@dataclass(frozen=True)
class Critics:
    """Who says what a drawing shows: some look for its texture, others for its word.

    Without the latter, drawings grew patterns in which a classifier of words saw no figure at all.
    """

    textures: Sequence[Classifier]
    words: Sequence[Classifier]


@dataclass(frozen=True)
class Seen:
    """What critics see in n pictures, (critics, n, 96), and its deviation, (critics, 1, 96)."""

    features: Tensor
    spread: Tensor

    def apart(self, seen: Tensor, rows: Tensor) -> Tensor:
        """How far what they see in drawings (critics, rows, 96) is from those pictures, in deviations."""
        return (seen - self.features[:, rows].to(seen)) / self.spread.to(seen)


@dataclass
class Lessons:
    """n styles with two pictures each: one of its word, and the other, whose features are shown as the reference."""

    examples: dict[str, Examples]
    kinds: Tensor  # (n,) number of each style's texture
    others: Tensor  # (n, 3, h, w) the other pictures, in bytes
    critics: Critics
    textures: Seen  # in the other pictures, by critics of textures
    figures: Seen  # in the pictures of the words, by critics of words


def lessons_of(examples: dict[str, Examples], kinds: Tensor, critics: Critics, own: Tensor, others: Tensor) -> Lessons:
    """Lessons from each style's texture and its two pictures (n, 3, h, w) in bytes."""
    return Lessons(examples, kinds, others, critics, look(critics.textures, others), look(critics.words, own))


@torch.no_grad()
def look(critics: Sequence[Classifier], pictures: Tensor) -> Seen:
    """What critics see in pictures (n, 3, h, w) in bytes."""
    where = next(critics[0].parameters()).device
    seen = [[critic.seen(rows.to(where) / 255).cpu() for rows in pictures.split(256)] for critic in critics]
    features = torch.stack([torch.cat(rows) for rows in seen])
    return Seen(features, features.std(1, keepdim=True) + 1e-3)


def compare(pictures: Tensor, lessons: Lessons, styles: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """How far drawings (n, 3, h, w) in 0..1 are from what was asked for: a texture, a word, colours and their look."""
    told_by, kinds = lessons.critics, lessons.kinds[styles].to(pictures.device)
    textures, figures = (
        torch.stack([critic.seen(pictures) for critic in critics]) for critics in (told_by.textures, told_by.words)
    )
    unlike, odd = lessons.textures.apart(textures, styles), lessons.figures.apart(figures, styles)
    return (
        TEXTURE * wrong(told_by.textures, textures, kinds)
        + WORD * wrong(told_by.words, figures, words.to(pictures.device))
        + COLOURS * colours_apart(pictures, lessons.others[styles].to(pictures) / 255, generator)
        + LIKENESS * unlike.square().mean()
        + FIGURE * odd.square().mean()
        + LEANING * odd.mean(1).square().mean()  # what all drawings have too much of, or too little
    )


def wrong(critics: Sequence[Classifier], seen: Tensor, answers: Tensor) -> Tensor:
    """How little critics expect the answers (n,) of what they see, (critics, n, 96)."""
    said = [cross_entropy(critic.head(one), answers) for critic, one in zip(critics, seen, strict=True)]
    return torch.stack(said).mean()


def colours_apart(one: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """How far each picture's colours would have to move to become the other's; where they lie does not matter.

    The sliced Wasserstein distance (Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing").
    """
    directions = normalize(torch.randn(3, DIRECTIONS, generator=generator).to(one), dim=0)
    moved = [(pictures.flatten(2).transpose(1, 2) @ directions).sort(1).values for pictures in (one, other)]
    return (moved[0] - moved[1]).abs().mean()

"""The loss of whole drawings: answers and features of critics, and the colours of the references."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from .adapter import Examples
from .judges import Classifier

# Weights of the parts of the loss.
TEXTURE, WORD, COLOURS = 0.03, 0.1, 1.0
LIKENESS, FIGURE, LEANING = 0.1, 0.15, 0.75
DIRECTIONS = 8  # in which colours are compared


@dataclass(frozen=True)
class Critics:
    """Classifiers of textures and classifiers of words.

    Without critics of words, drawings got patterns in which a classifier of words recognised no figure.
    """

    textures: Sequence[Classifier]
    words: Sequence[Classifier]


@dataclass(frozen=True)
class Seen:
    """The critics' features of n pictures, (critics, n, 96), and their deviation, (critics, 1, 96)."""

    features: Tensor
    spread: Tensor

    def apart(self, seen: Tensor, rows: Tensor) -> Tensor:
        """The difference of drawings' features (critics, rows, 96) from those of the pictures, in deviations."""
        return (seen - self.features[:, rows].to(seen)) / self.spread.to(seen)


@dataclass
class Lessons:
    """n styles with two pictures each: a picture of the word to draw, and another picture, which is the reference."""

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
    """The critics' features of pictures (n, 3, h, w) in bytes."""
    where = next(critics[0].parameters()).device
    seen = [[critic.seen(rows.to(where) / 255).cpu() for rows in pictures.split(256)] for critic in critics]
    features = torch.stack([torch.cat(rows) for rows in seen])
    return Seen(features, features.std(1, keepdim=True) + 1e-3)


def compare(pictures: Tensor, lessons: Lessons, styles: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """The loss of drawings (n, 3, h, w) in 0..1 for their styles (n,) and words (n,)."""
    critics, kinds = lessons.critics, lessons.kinds[styles].to(pictures.device)
    textures, figures = (
        torch.stack([critic.seen(pictures) for critic in group]) for group in (critics.textures, critics.words)
    )
    unlike, odd = lessons.textures.apart(textures, styles), lessons.figures.apart(figures, styles)
    return (
        TEXTURE * wrong(critics.textures, textures, kinds)
        + WORD * wrong(critics.words, figures, words.to(pictures.device))
        + COLOURS * colours_apart(pictures, lessons.others[styles].to(pictures) / 255, generator)
        + LIKENESS * unlike.square().mean()
        + FIGURE * odd.square().mean()
        + LEANING * odd.mean(1).square().mean()  # the mean deviation of all drawings of the batch
    )


def wrong(critics: Sequence[Classifier], seen: Tensor, answers: Tensor) -> Tensor:
    """The critics' mean cross-entropy for the right answers (n,), from features (critics, n, 96)."""
    said = [cross_entropy(critic.head(one), answers) for critic, one in zip(critics, seen, strict=True)]
    return torch.stack(said).mean()


def colours_apart(one: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """The mean sliced Wasserstein distance of the colours of two pictures (n, 3, h, w), whatever their positions.

    Source: Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing".
    """
    directions = normalize(torch.randn(3, DIRECTIONS, generator=generator).to(one), dim=0)
    moved = [(pictures.flatten(2).transpose(1, 2) @ directions).sort(1).values for pictures in (one, other)]
    return (moved[0] - moved[1]).abs().mean()

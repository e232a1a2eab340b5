"""The sets of pictures for training, drawn when they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from demo_models.config import SIZE
from demo_models.words import WORDS

from .palettes import draw_palettes
from .pictures import Styles, draw_halves, draw_many_styles, draw_picture, draw_set, draw_styles

STYLES = 16384  # palettes; each also gets a texture and two pictures
SEED = 20261122
MANY_STYLES = 40960  # with many more textures, for the last round
MANY_SEED = 20261126
HELD_OUT_SEED = 7
HELD_OUT_STYLES = 256


@dataclass(frozen=True)
class Drawn:
    """Pictures of n styles: two contents in each style, and halves of two styles."""

    styles: Styles
    words: Tensor  # (n,) the content of each picture
    pictures: Tensor  # (n, 3, SIZE, SIZE) in bytes
    others: Tensor  # (n, 3, SIZE, SIZE) another picture in the same style: the reference of an adapter
    other_words: Tensor  # (n,)

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class Halves:
    """Pictures whose two parts have two of the styles."""

    words: Tensor  # (m,)
    pictures: Tensor  # (m, 3, SIZE, SIZE) in bytes
    pairs: Tensor  # (m, 2) the styles
    where: Tensor  # (m, SIZE, SIZE) bools: the part in the first style


def draw_data(count: int = STYLES, seed: int = SEED, held_out: bool = False) -> Drawn:
    """Pictures of `count` styles; seeds of held-out sets differ from the training set's, so no palette is in both."""
    rng = np.random.default_rng(seed)
    return _draw_pictures(draw_styles(count, rng, held_out), seed, rng)


def draw_many(count: int = MANY_STYLES, seed: int = MANY_SEED) -> Drawn:
    """Pictures of styles with many more textures; both pictures of a style have exactly the same texture."""
    rng = np.random.default_rng(seed)
    return _draw_pictures(draw_many_styles(count, rng, seed), seed, rng)


def _draw_pictures(styles: Styles, seed: int, rng: np.random.Generator) -> Drawn:
    count = len(styles)
    words = torch.from_numpy(rng.integers(len(WORDS), size=count))
    other_words = torch.from_numpy(rng.integers(len(WORDS), size=count))
    pictures = draw_set(count, seed, lambda i, rng: draw_picture(WORDS[words[i]], styles, i, rng))
    others = draw_set(count, seed + 1, lambda i, rng: draw_picture(WORDS[other_words[i]], styles, i, rng))
    return Drawn(styles, words, pictures, others, other_words)


def draw_held_out() -> Drawn:
    """The styles that no model was trained on: other palettes, and half of them with other textures."""
    return draw_data(HELD_OUT_STYLES, HELD_OUT_SEED, held_out=True)


def draw_textures(names: Sequence[str], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """For a judge of textures: pictures (count, 3, SIZE, SIZE) in bytes, and the number of each texture, (count,)."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(len(names), size=count)
    styles = Styles(draw_palettes(count, rng), [names[int(number)] for number in numbers])
    words = rng.integers(len(WORDS), size=count)
    pictures = draw_set(count, seed, lambda i, rng: draw_picture(WORDS[words[i]], styles, i, rng))
    return pictures, torch.from_numpy(numbers)


def draw_split(drawn: Drawn, count: int, seed: int = SEED + 2) -> Halves:
    """Pictures whose two parts have different styles of the set."""
    rng = np.random.default_rng(seed)
    words = torch.from_numpy(rng.integers(len(WORDS), size=count))
    pairs = torch.from_numpy(rng.integers(len(drawn), size=(count, 2)))
    where = torch.empty(count, SIZE, SIZE, dtype=torch.bool)

    def draw(i: int, rng: np.random.Generator) -> Tensor:
        first, second = pairs[i].tolist()
        picture, where[i] = draw_halves(WORDS[words[i]], drawn.styles, (first, second), rng)
        return picture

    return Halves(words, draw_set(count, seed, draw), pairs, where)


def as_floats(pictures: Tensor) -> Tensor:
    """Bytes as -1..1."""
    return pictures.float() / 127.5 - 1

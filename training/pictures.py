"""Pictures drawn by a seeded program: a content, named by a word, in a style of palette and texture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from demo_models.config import SIZE

from .contents import CONTENTS, place
from .more_textures import MORE_TEXTURES
from .palettes import draw_palettes
from .textures import HELD_OUT, TEXTURES

FINER = 2  # pictures are drawn at this multiple of their size and averaged, which smooths the edges
EVERY_TEXTURE = TEXTURES | MORE_TEXTURES | HELD_OUT
FEW = 0.45  # share of the styles with a texture of TEXTURES, in sets with many textures


@dataclass(frozen=True)
class Styles:
    """n styles: a palette in sRGB (n, 3, 3) of ground, figure and accent, and the name of a texture.

    With a `seed` all pictures of a style have exactly the same texture, so that a reference contains the texture of the
    picture. Without a seed each picture has its own random texture of this name, for example in another direction.
    """

    palettes: Tensor
    textures: Sequence[str]
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.textures)


def draw_styles(count: int, rng: np.random.Generator, held_out: bool = False) -> Styles:
    """Random styles; half of the held-out styles have textures that training does not use."""
    names = list(HELD_OUT) if held_out else []
    drawn = [rng.choice(names if names and rng.random() < 0.5 else list(TEXTURES)) for _ in range(count)]
    return Styles(draw_palettes(count, rng), [str(name) for name in drawn])


def draw_many_styles(count: int, rng: np.random.Generator, seed: int) -> Styles:
    """Styles with the textures of `draw_styles` and many more, the same in all pictures of a style."""
    palettes = draw_palettes(count, rng)
    drawn = [rng.choice(list(TEXTURES) if rng.random() < FEW else list(MORE_TEXTURES)) for _ in range(count)]
    return Styles(palettes, [str(name) for name in drawn], seed)


def draw_figure(word: str, rng: np.random.Generator) -> np.ndarray:
    """Figure and details of a content, (2, side, side) in 0..1, at the larger size."""
    side = SIZE * FINER
    masks = [Image.new("L", (side, side)) for _ in range(2)]
    figure, details = (ImageDraw.Draw(mask) for mask in masks)
    CONTENTS[word]((figure, details), place(side, rng))
    return np.stack([np.asarray(mask, dtype=np.float32) / 255 for mask in masks])


def draw_texture(styles: Styles, index: int, rng: np.random.Generator) -> np.ndarray:
    """The texture of a style, (side, side) in 0..1, at the larger size."""
    own = rng if styles.seed is None else np.random.default_rng((styles.seed, index))
    return EVERY_TEXTURE[styles.textures[index]](SIZE * FINER, own)


def paint(figure: np.ndarray, texture: np.ndarray, palette: Tensor) -> Tensor:
    """A picture (3, SIZE, SIZE) in 0..1: the texture in accent on the ground, the figure, its details in accent."""
    layers = torch.from_numpy(np.stack([texture, *figure]))
    small = torch.nn.functional.avg_pool2d(layers, FINER)
    ground, body, accent = palette
    picture = ground[:, None, None].expand(3, SIZE, SIZE)
    for colour, mask in zip((accent, body, accent), small, strict=True):
        picture = torch.lerp(picture, colour[:, None, None].expand_as(picture), mask)
    return picture


def draw_picture(word: str, styles: Styles, index: int, rng: np.random.Generator) -> Tensor:
    """A picture, (3, SIZE, SIZE) in 0..1."""
    return paint(draw_figure(word, rng), draw_texture(styles, index, rng), styles.palettes[index])


def draw_halves(word: str, styles: Styles, pair: tuple[int, int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A content in two styles that meet at a line, (3, SIZE, SIZE), and the first style's mask, (SIZE, SIZE) of bools.

    Without such pictures a model learns that a picture has a single palette, and no mask could give it two.
    """
    figure = draw_figure(word, rng)
    first, second = (paint(figure, draw_texture(styles, i, rng), styles.palettes[i]) for i in pair)
    split = round(SIZE * rng.uniform(0.35, 0.65))
    where = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    where[:, :split] = True
    where = where if rng.random() < 0.7 else where.T.contiguous()
    return torch.where(where, first, second), where


def draw_set(count: int, seed: int, draw: Callable[[int, np.random.Generator], Tensor]) -> Tensor:
    """Pictures 0 to count - 1, (count, 3, SIZE, SIZE) in bytes; each has a generator of its own and can be redrawn."""
    pictures = torch.empty(count, 3, SIZE, SIZE, dtype=torch.uint8)
    for i in range(count):
        pictures[i] = (draw(i, np.random.default_rng((seed, i))) * 255).round().byte()
    return pictures

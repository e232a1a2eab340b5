"""Draw a weight schedule as a heat map: a row for each layer, sampling percent from left to right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from ..ipadapter.families import family_of_blocks, roles_of_blocks
from ..ipadapter.weights import Weights
from ..weight_schedules.layer_text import layer_names
from ..weight_schedules.layers import Blocks
from .paint import FAINT, INK, PAPER, UNIT, Colour, write_text

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels

ROLE_COLOURS: dict[str, Colour] = {"style": (255, 176, 92), "composition": (120, 196, 255)}


@dataclass(frozen=True)
class Theme:
    """Colours of text and background. The weights themselves have the same colours in every theme."""

    ink: Colour = INK
    faint: Colour = FAINT
    paper: Colour = PAPER
    roles: Mapping[str, Colour] = field(default_factory=lambda: ROLE_COLOURS)


DARK = Theme()
LIGHT = Theme((30, 32, 40), (100, 104, 118), (250, 250, 252), {"style": (168, 88, 0), "composition": (0, 92, 168)})
THEMES: dict[str, Theme] = {"dark": DARK, "light": LIGHT}

# Colours from weight 0 up and from weight 0 down. Brightness grows with strength, so that no colour vision is needed.
UP = np.array([(40, 42, 54), (88, 52, 128), (178, 54, 122), (242, 108, 78), (254, 190, 96), (255, 246, 190)], float)
DOWN = np.array([(40, 42, 54), (30, 84, 132), (56, 148, 196), (170, 226, 244)], float)

ROW, LEFT, RIGHT, TOP, BOTTOM, WIDE = 27, 184, 108, 46, 86, 360  # layout units


def colours_of(weights: np.ndarray, top: float) -> np.ndarray:
    """RGB bytes (..., 3) of weights (...): 0 is dark, `top` and -`top` are the brightest."""
    share = np.clip(np.abs(weights) / top, 0.0, 1.0)[..., None]
    up, down = (_between(scale, share[..., 0]) for scale in (UP, DOWN))
    return np.where(np.asarray(weights)[..., None] < 0, down, up).round().astype(np.uint8)


def _between(scale: np.ndarray, share: np.ndarray) -> np.ndarray:
    stops = np.linspace(0.0, 1.0, len(scale))
    return np.stack([np.interp(share, stops, channel) for channel in scale.T], axis=-1)


def draw_schedule(
    schedule: Weights, blocks: Blocks, percents: Sequence[float] | None = None, theme: Theme = DARK
) -> Image.Image:
    """The weights of a schedule on a model, one row per layer.

    `percents` is the sampling percent of every step of a run and gives one column per step. Without it the columns run
    evenly from 0 to 1. ValueError for a run without steps.
    """
    columns = [(column + 0.5) / WIDE for column in range(WIDE)] if percents is None else percents
    if not columns:
        raise ValueError("There are no steps to draw: the list of sigmas is empty.")
    weights = np.array([schedule.at(percent) for percent in columns]).T  # (layers, columns)
    top = max(1.0, float(np.abs(weights).max()))  # the weight that has the brightest colour
    height = ROW * len(blocks)
    picture = Image.new("RGB", ((LEFT + WIDE + RIGHT) * UNIT, (TOP + height + BOTTOM) * UNIT), theme.paper)
    draw = ImageDraw.Draw(picture)
    cells = (LEFT * UNIT, TOP * UNIT, (LEFT + WIDE) * UNIT, (TOP + height) * UNIT)
    _draw_cells(picture, cells, colours_of(weights, top), theme)
    family = family_of_blocks(blocks)
    title = f"{family.title if family else 'this model'}: {len(blocks)} layers"
    write_text(draw, (14, TOP / 2), title, 18, theme.ink, "lm")
    write_text(draw, (LEFT + WIDE + 10, TOP / 2), "weight", 14, theme.faint, "lm")
    _draw_rows(draw, blocks, weights, theme)
    _draw_percents(draw, TOP + height, percents, theme)
    _draw_bar(picture, draw, TOP + height + 58, float(weights.min()), top, theme)
    return picture


def _draw_cells(picture: Image.Image, box: Box, colours: np.ndarray, theme: Theme) -> None:
    rows, columns, _ = colours.shape
    cells = Image.fromarray(colours).resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.NEAREST)
    picture.paste(cells, box[:2])
    draw = ImageDraw.Draw(picture)
    for row in range(rows + 1):
        draw.line([(box[0], box[1] + row * ROW * UNIT), (box[2], box[1] + row * ROW * UNIT)], theme.paper, UNIT)
    if columns <= 60:  # separate steps
        for column in range(columns + 1):
            x = box[0] + (box[2] - box[0]) * column / columns
            draw.line([(x, box[1]), (x, box[3])], theme.paper, 1)


def _draw_rows(draw: ImageDraw.ImageDraw, blocks: Blocks, weights: np.ndarray, theme: Theme) -> None:
    roles = roles_of_blocks(blocks)
    for layer, name in enumerate(layer_names(blocks)):
        middle = TOP + (layer + 0.5) * ROW
        low, high = float(weights[layer].min()), float(weights[layer].max())
        write_text(draw, (32, middle), str(layer), 15, theme.ink, "rm")
        write_text(draw, (42, middle), name, 15, theme.ink if low or high else theme.faint, "lm")
        if role := roles.word(layer) if roles else "":
            write_text(draw, (LEFT - 8, middle), role, 12, theme.roles[role], "rm")
        summary = _number(high) if low == high else f"{_number(low)} to {_number(high)}"
        write_text(draw, (LEFT + WIDE + 10, middle), summary, 14, theme.ink if low or high else theme.faint, "lm")


def _draw_percents(draw: ImageDraw.ImageDraw, bottom: float, steps: Sequence[float] | None, theme: Theme) -> None:
    if steps is None:
        for quarter in range(5):
            x = LEFT + WIDE * quarter / 4
            draw.line([(x * UNIT, bottom * UNIT), (x * UNIT, (bottom + 5) * UNIT)], theme.faint, UNIT)
            write_text(draw, (x, bottom + 16), f"{quarter * 25}%", 14, theme.ink, "mm")
        write_text(draw, (LEFT + WIDE / 2, bottom + 34), "of sampling (noise to picture)", 13, theme.faint, "mm")
        return
    every = max(1, -(-len(steps) // 8))
    for step in range(0, len(steps), every):
        x = LEFT + WIDE * (step + 0.5) / len(steps)
        write_text(draw, (x, bottom + 13), str(step + 1), 14, theme.ink, "mm")
        write_text(draw, (x, bottom + 28), f"{steps[step] * 100:.0f}%", 11, theme.faint, "mm")
    write_text(draw, (LEFT - 8, bottom + 13), "step", 13, theme.faint, "rm")
    write_text(draw, (LEFT - 8, bottom + 28), "of sampling", 11, theme.faint, "rm")


def _draw_bar(
    picture: Image.Image, draw: ImageDraw.ImageDraw, y: float, least: float, top: float, theme: Theme
) -> None:
    low = -top if least < 0 else 0.0
    values = np.linspace(low, top, WIDE * UNIT)
    bar = Image.fromarray(np.repeat(colours_of(values, top)[None], 10 * UNIT, axis=0))
    picture.paste(bar, (LEFT * UNIT, round(y * UNIT) - 5 * UNIT))
    write_text(draw, (LEFT - 8, y), _number(low), 14, theme.ink, "rm")
    write_text(draw, (LEFT + WIDE + 10, y), _number(top), 14, theme.ink, "lm")


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:g}"  # adding 0.0 turns -0.0 into 0.0

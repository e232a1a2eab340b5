"""Draw scores: CLIP-I over CLIP-T, one point per picture or one curve per series."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .paint import FAINT, INK, PAPER, UNIT, Colour, write_text

SIDE, LEFT, TOP, RIGHT, BOTTOM = 300, 64, 26, 26, 56  # layout units
COLOURS: tuple[Colour, ...] = ((255, 176, 92), (120, 196, 255), (190, 150, 255), (140, 220, 140), (255, 130, 150))
RADIUS = 4
CLIP_AXIS, FACE_AXIS = "CLIP-I: near the reference", "face: near the person"


@dataclass(frozen=True)
class Series:
    """Points (CLIP-T, CLIP-I) with a label each. A line joins them in their order; `marked` is the index of the point
    to emphasise.
    """

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str]
    marked: int | None = None
    joined: bool = True


def draw_scores(series: Sequence[Series], axis: str = CLIP_AXIS) -> Image.Image:
    """A chart of CLIP-I, or what `axis` names, over CLIP-T, with a colour and a legend per series.

    The axes span the measured values.
    """
    legend = 18 * len(series)
    size = ((LEFT + SIDE + RIGHT) * UNIT, (TOP + SIDE + BOTTOM + legend) * UNIT)
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    points = [point for curve in series for point in curve.points]
    spans = [_span([point[axis] for point in points]) for axis in (0, 1)]

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x, y = ((value - low) / (high - low) for value, (low, high) in zip(point, spans, strict=True))
        return LEFT + x * SIDE, TOP + (1 - y) * SIDE

    _draw_axes(draw, spans, axis)
    for number, curve in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        positions = [at(point) for point in curve.points]
        if curve.joined and len(positions) > 1:
            draw.line([(x * UNIT, y * UNIT) for x, y in positions], colour, UNIT)
        for index, ((x, y), label) in enumerate(zip(positions, curve.labels, strict=True)):
            _dot(draw, x, y, colour, 2 * RADIUS if index == curve.marked else RADIUS)
            write_text(draw, (x + 9, y - 9), label, 11, INK if index == curve.marked else FAINT, "lm")
        y = TOP + SIDE + BOTTOM + 18 * number - 4
        _dot(draw, LEFT, y, colour, RADIUS)
        write_text(draw, (LEFT + 10, y), curve.name, 12, INK, "lm")
    return picture


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values, widened by a tenth at both ends; by 0.05 if all values are equal."""
    low, high = min(values), max(values)
    edge = 0.1 * (high - low) or 0.05
    return low - edge, high + edge


def _draw_axes(draw: ImageDraw.ImageDraw, spans: Sequence[tuple[float, float]], axis: str) -> None:
    box = [LEFT * UNIT, TOP * UNIT, (LEFT + SIDE) * UNIT, (TOP + SIDE) * UNIT]
    draw.rectangle(box, outline=FAINT, width=1)
    for share in (0.0, 0.5, 1.0):
        (x_low, x_high), (y_low, y_high) = spans
        write_text(draw, (LEFT + share * SIDE, TOP + SIDE + 12), _tick(x_low, x_high, share), 11, FAINT, "mm")
        write_text(draw, (LEFT - 6, TOP + (1 - share) * SIDE), _tick(y_low, y_high, share), 11, FAINT, "rm")
    write_text(draw, (LEFT + SIDE / 2, TOP + SIDE + 30), "CLIP-T: near the prompt", 12, INK, "mm")
    write_text(draw, (LEFT, TOP / 2), axis, 12, INK, "lm")


def _tick(low: float, high: float, share: float) -> str:
    return f"{low + share * (high - low):.3f}"


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, colour: Colour, radius: float) -> None:
    draw.ellipse([(x - radius) * UNIT, (y - radius) * UNIT, (x + radius) * UNIT, (y + radius) * UNIT], colour)

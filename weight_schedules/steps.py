"""The weight over the course of sampling: a curve over the sampling percent (0: pure noise, 1: finished picture)."""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from . import easing

Points = tuple[tuple[float, float], ...]
LARGEST = 1000.0  # bound of every number in a schedule: widgets end at 10, and products must stay in half precision


def _gentle_peak(position: float) -> float:
    return math.sin(math.pi * position) ** 2


SHAPES: dict[str, easing.Curve] = {  # position in the curve's range -> share of the way from `low` to `high`
    "constant": lambda position: 1.0,
    "ease in": lambda position: position**2,
    "ease out": lambda position: (1.0 - position) ** 2,
    "ease in-out": _gentle_peak,
    "reverse in-out": lambda position: 1.0 - _gentle_peak(position),
    "linear up": easing.rise,
    "linear down": easing.fall,
    "cosine up": easing.cosine_rise,
    "cosine down": easing.cosine_fall,
}
BETWEEN: dict[str, Callable[[float], float]] = {  # position between two points -> share of the second one
    "linear": easing.rise,
    "cosine": easing.cosine_rise,
    "hold": lambda position: 0.0,
}


@dataclass(frozen=True)
class StepCurve:
    """A weight over the sampling percent: a shape between `low` and `high`, or `points`, which replace the shape.

    The shape extends from `start` to `end`. Outside, the curve stays at the shape's end values; the constant shape is
    `high` from `start` to `end` and `low` outside. Points are (percent, weight), by rising percent; two points at the
    same percent make a jump. ValueError for an unknown name, a number out of bounds, or points out of order.
    """

    shape: str = "constant"
    low: float = 0.0
    high: float = 1.0
    start: float = 0.0
    end: float = 1.0
    points: Points = ()
    between: str = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple((float(at), float(weight)) for at, weight in self.points))
        _known(self.shape, SHAPES, "shape of a step curve")
        _known(self.between, BETWEEN, "way between points")
        numbers = (self.low, self.high, *(number for point in self.points for number in point))
        if not all(abs(number) <= LARGEST for number in numbers):
            raise ValueError(f"A step curve needs finite numbers up to {LARGEST:g}, got {numbers!s:.200}.")
        if not 0.0 <= self.start <= self.end <= 1.0:
            raise ValueError(f"A step curve runs from start to end within 0 and 1, got {self.start} to {self.end}.")
        positions = [at for at, _ in self.points]
        if positions != sorted(positions) or any(not 0.0 <= at <= 1.0 for at in positions):
            raise ValueError(f"Points need rising percents within 0 and 1, got {positions!s:.200}.")

    @property
    def constant(self) -> bool:
        """Whether the weight is the same at every percent."""
        if self.points:
            return len({weight for _, weight in self.points}) == 1
        whole = (self.start, self.end) == (0.0, 1.0)
        return self.low == self.high or (self.shape == "constant" and whole)

    def at(self, percent: float) -> float:
        """The weight at a sampling percent; below 0 and above 1 it is the weight at 0 and at 1."""
        if self.points:
            return self._between_points(percent)
        if self.shape == "constant":
            inside = self.start <= min(max(percent, 0.0), 1.0) <= self.end
            return self.high if inside else self.low
        width = self.end - self.start
        position = (percent - self.start) / width if width else float(percent >= self.end)
        share = SHAPES[self.shape](min(max(position, 0.0), 1.0))
        return self.low + (self.high - self.low) * share

    def largest(self, left: float, right: float) -> float:
        """The largest absolute weight from one sampling percent to another; at a jump, of both its sides.

        Between the percents where a curve turns it rises or falls all the way, so its ends there have its largest.
        """
        turns = [at for at, _ in self.points] or [self.start, (self.start + self.end) / 2, self.end]
        inside = [self.at(percent) for percent in turns if left < percent <= right]
        share = BETWEEN[self.between](1.0)  # how near a curve comes to a point before it reaches the point
        before = [
            low + (high - low) * share
            for (start, low), (end, high) in pairwise(self.points)
            if start < end and left < end <= right
        ]
        return max(map(abs, (self.at(left), *inside, *before, self.at(right))))

    def _between_points(self, percent: float) -> float:
        after = bisect_right(self.points, percent, key=lambda point: point[0])
        if after == 0:
            return self.points[0][1]
        if after == len(self.points):
            return self.points[-1][1]
        (left, low), (right, high) = self.points[after - 1 : after + 1]
        return low + (high - low) * BETWEEN[self.between]((percent - left) / (right - left))


def _known(name: str, choices: Iterable[str], what: str) -> None:
    if name not in choices:
        raise ValueError(f"Unknown {what} {name!r:.80}. Known: {', '.join(choices)}.")


def parse_points(text: str) -> Points:
    """The points in a text such as `0:1, 0.5:0.2, 1:0`; ValueError quotes the entry that is not `percent:weight`."""
    points = []
    for entry in filter(None, (entry.strip() for entry in re.split(r"[,;\n]", text))):
        at, colon, weight = entry.partition(":")
        try:
            points.append((float(at), float(weight)))
        except ValueError:
            raise ValueError(
                f"{entry!r:.80} is not a point of a step curve. Expected percent:weight pairs such as "
                "'0:1, 0.5:0.2, 1:0'."
            ) from None
    return tuple(points)

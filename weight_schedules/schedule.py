"""A weight schedule: the strength of a reference by layer, sampling percent and frame.

A schedule is independent of the model. `resolve(blocks)` applies it to the layers of a model; the result has
`at(percent)`, one weight per layer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Union

from ..ipadapter.families import Roles
from ..ipadapter.weights import Weights
from .layer_text import parse_layer_text
from .layers import RULES, Blocks, LayerWeights, roles_of, weigh_layers
from .steps import LARGEST, StepCurve

Frames = tuple[float, ...]  # one weight per frame of a batch; empty: 1 for every frame
Schedule = Union["WeightSchedule", "CombinedSchedule"]

BLEND: dict[str, Callable[[float, float], float]] = {
    "multiply": lambda first, second: first * second,
    "add": lambda first, second: first + second,
    "max": max,
}
FROM_SECOND: dict[str, Callable[[Roles, int], bool]] = {  # whether a layer has the second schedule's weight
    "composition from second": lambda roles, layer: layer in roles.composition,
    "style from second": lambda roles, layer: layer in roles.style,
}
METHODS: list[str] = [*BLEND, *FROM_SECOND]
DEEPEST, MOST_PARTS = 64, 4096  # bounds of a combination; a schedule combined with itself has twice the parts


@dataclass(frozen=True)
class WeightSchedule:
    """Layer weights times a step curve times frame weights times `scale`.

    `layers` is a weight type or a layer text. `composition` and `boost` are for the weight types that use them (see
    `weigh_layers`). `frames` has one weight per frame of a batch; empty means 1 for every frame.
    """

    layers: str = "linear"
    steps: StepCurve = field(default_factory=StepCurve)
    frames: Frames = ()
    scale: float = 1.0
    composition: float | None = None
    boost: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(float(weight) for weight in self.frames))
        numbers = [self.scale, *self.frames, *(n for n in (self.composition, self.boost) if n is not None)]
        if not all(abs(number) <= LARGEST for number in numbers):
            raise ValueError(f"A weight schedule needs finite numbers up to {LARGEST:g}, got {numbers!s:.200}.")

    depth, parts = 0, 1  # as in CombinedSchedule

    def scaled(self, factor: float) -> "WeightSchedule":
        """The schedule with every weight multiplied."""
        return replace(self, scale=self.scale * factor)

    def resolve(self, blocks: Blocks) -> "ResolvedSchedule":
        """The schedule on a model's layers; ValueError if the text names a layer that the model does not have."""
        blocks = tuple(blocks)
        if self.layers in RULES:
            layers = weigh_layers(self.layers, 1.0, blocks, composition_weight=self.composition, boost=self.boost)
        else:
            layers = LayerWeights(parse_layer_text(self.layers, blocks))
        weights = tuple(weight * self.scale for weight in layers.weights)
        return ResolvedSchedule(weights, self.steps, self.frames, layers.swapped)


@dataclass(frozen=True)
class CombinedSchedule:
    """Two schedules combined by one of METHODS, times `scale`.

    ValueError if frame weights differ and the method is not "multiply", since the result could not be written as layer
    weights times frame weights; and beyond DEEPEST or MOST_PARTS.
    """

    method: str
    first: Schedule
    second: Schedule
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"Unknown way to combine schedules {self.method!r:.80}. Known: {', '.join(METHODS)}.")
        if not abs(self.scale) <= LARGEST:  # NaN too
            raise ValueError(f"A weight schedule needs a finite scale up to {LARGEST:g}, got {self.scale!s:.40}.")
        if self.method != "multiply" and self.first.frames != self.second.frames:
            raise ValueError(
                f"'{self.method}' needs the same frame weights in both schedules, got {len(self.first.frames)} and "
                f"{len(self.second.frames)} that differ. Only 'multiply' joins different ones."
            )
        if self.depth > DEEPEST or self.parts > MOST_PARTS:
            raise ValueError(
                f"This schedule is combined of {self.parts} parts, {self.depth} deep; at most {MOST_PARTS} parts and "
                f"{DEEPEST} deep can be. A schedule that is combined with itself doubles its parts."
            )

    @cached_property
    def frames(self) -> Frames:
        first, second = self.first.frames, self.second.frames
        return multiply_frames(first, second) if self.method == "multiply" else first

    @cached_property
    def depth(self) -> int:
        """How many levels of combinations the schedule has."""
        return 1 + max(self.first.depth, self.second.depth)

    @cached_property
    def parts(self) -> int:
        """How many schedules it contains when it is written out, itself included."""
        return 1 + self.first.parts + self.second.parts

    def scaled(self, factor: float) -> "CombinedSchedule":
        """The schedule with every weight multiplied."""
        return replace(self, scale=self.scale * factor)

    def resolve(self, blocks: Blocks) -> "ResolvedCombination":
        """The combination on a model's layers; ValueError as WeightSchedule, and if the method needs roles of layers
        that are unknown for the model.
        """
        blocks = tuple(blocks)
        from_second: frozenset[int] = frozenset()
        if self.method in FROM_SECOND:
            roles = roles_of(blocks, self.method)
            takes = FROM_SECOND[self.method]
            from_second = frozenset(layer for layer in range(len(blocks)) if takes(roles, layer))
        first = self.first.resolve(blocks)
        second = first if self.second is self.first else self.second.resolve(blocks)
        return ResolvedCombination(self.method, first, second, self.scale, from_second, self.frames)


@dataclass(frozen=True)
class ResolvedSchedule:
    """Layer weights, (layers,), and a curve over the steps. The layers in `swapped` push the result away from the
    reference.
    """

    layers: tuple[float, ...]
    steps: StepCurve
    frames: Frames = ()
    swapped: frozenset[int] = frozenset()

    @property
    def constant(self) -> bool:
        return self.steps.constant

    def at(self, percent: float) -> tuple[float, ...]:
        """One weight per layer, (layers,), at a sampling percent, to be multiplied by the frame weights."""
        step = self.steps.at(percent)
        return tuple([weight * step for weight in self.layers])

    def largest(self, left: float, right: float) -> tuple[float, ...]:
        """The largest absolute weight of every layer from one sampling percent to another, (layers,)."""
        step = self.steps.largest(left, right)
        return tuple(abs(weight) * step for weight in self.layers)


@dataclass(frozen=True)
class ResolvedCombination:
    """Two schedules on a model's layers, combined by one of METHODS, times `scale`.

    Layers in `from_second` have the second schedule's weights, if the method is one of FROM_SECOND.
    """

    method: str
    first: Weights
    second: Weights
    scale: float
    from_second: frozenset[int]
    frames: Frames

    @property
    def constant(self) -> bool:
        return self.first.constant and self.second.constant

    @property
    def swapped(self) -> frozenset[int]:
        if self.method in BLEND:
            return self.first.swapped | self.second.swapped
        return (self.first.swapped - self.from_second) | (self.second.swapped & self.from_second)

    def at(self, percent: float) -> tuple[float, ...]:
        """As ResolvedSchedule.at."""
        first = self.first.at(percent)
        second = first if self.second is self.first else self.second.at(percent)
        return self._joined(first, second, self.scale)

    def largest(self, left: float, right: float) -> tuple[float, ...]:
        """As ResolvedSchedule.largest, or more where both schedules change: of positive numbers, every method of BLEND
        gives most for the largest of both.
        """
        first = self.first.largest(left, right)
        second = first if self.second is self.first else self.second.largest(left, right)
        return self._joined(first, second, abs(self.scale))

    def _joined(self, first: tuple[float, ...], second: tuple[float, ...], scale: float) -> tuple[float, ...]:
        if self.method in BLEND:
            blend = BLEND[self.method]
            return tuple(blend(one, other) * scale for one, other in zip(first, second, strict=True))
        chosen = (second[layer] if layer in self.from_second else first[layer] for layer in range(len(first)))
        return tuple(weight * scale for weight in chosen)


@dataclass(frozen=True)
class FirstLayers:
    """The first `count` layers of a schedule on a model, for an adapter that has weights for these layers only."""

    whole: Weights
    count: int

    @property
    def constant(self) -> bool:
        return self.whole.constant

    @property
    def frames(self) -> Frames:
        return self.whole.frames

    @property
    def swapped(self) -> frozenset[int]:
        return frozenset(layer for layer in self.whole.swapped if layer < self.count)

    def at(self, percent: float) -> tuple[float, ...]:
        """As ResolvedSchedule.at."""
        return self.whole.at(percent)[: self.count]

    def largest(self, left: float, right: float) -> tuple[float, ...]:
        """As ResolvedSchedule.largest."""
        return self.whole.largest(left, right)[: self.count]


def of_layers(layers: LayerWeights, frames: Frames = ()) -> ResolvedSchedule:
    """Layer weights that do not change while sampling, and frame weights, as a schedule on a model."""
    return ResolvedSchedule(layers.weights, StepCurve(), frames, layers.swapped)


def multiplied(first: Weights, second: Weights) -> ResolvedCombination:
    """The product of two schedules on one model, in every layer, step and frame."""
    frames = multiply_frames(first.frames, second.frames)
    return ResolvedCombination("multiply", first, second, 1.0, frozenset(), frames)


def multiply_frames(first: Frames, second: Frames) -> Frames:
    """Frame weights times frame weights. The shorter list repeats its last weight; an empty list counts as all ones."""
    if not first or not second:
        return first or second
    count = max(len(first), len(second))
    return tuple(first[min(frame, len(first) - 1)] * second[min(frame, len(second) - 1)] for frame in range(count))

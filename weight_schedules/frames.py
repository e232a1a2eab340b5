"""Weights and reference images for the frames of an animation.

A strategy holds the widgets of a weights node. A timeline is its result for a number of reference images: for every
frame a weight and the images that the frame follows.
"""

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

# Position in the transition, 0 to 1 -> share of the way from the first weight to the last. The names are those of saved
# workflows, in which "ease_in" starts fast.
TRANSITIONS: dict[str, Callable[[float], float]] = {
    "linear": lambda p: p,
    "ease_in_out": lambda p: (1 - math.cos(math.pi * p)) / 2,
    "ease_in": lambda p: math.sin(math.pi * p / 2),
    "ease_out": lambda p: 1 - math.cos(math.pi * p / 2),
}
CUSTOM, RANDOM = "custom", "random"
TIMINGS = (CUSTOM, *TRANSITIONS, RANDOM)
MOST_FRAMES = 100_000  # ten times what the widgets allow; 10⁹ weights, which another node may ask for, fill the memory


@dataclass(frozen=True)
class Strategy:
    """The widgets of a weights node; only random timing reads `random_seed`.

    `frame_count` is the number of reference images that the weights were made for.
    """

    weights: str = "1.0, 0.0"
    timing: str = "linear"
    frames: int = 0
    start_frame: int = 0
    end_frame: int = 9999
    add_starting_frames: int = 0
    add_ending_frames: int = 0
    method: str = "full batch"
    random_seed: int = 0
    frame_count: int = 0

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "Strategy":
        """The strategy in the mapping of a WEIGHTS_STRATEGY socket; keys that are no field are ignored.

        ValueError if it is no mapping, or a field has a value of another type, or a whole number below 0 or above
        MOST_FRAMES (a seed: 2³¹).
        """
        if not isinstance(values, Mapping):
            raise ValueError(
                f"weights_strategy needs the settings of an IPAdapter Weights, and got a {type(values).__name__}."
            )
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        for name, value in known.items():
            kind = type(getattr(cls, name))
            most = 2**31 if name == "random_seed" else MOST_FRAMES
            if not isinstance(value, kind) or (kind is int and not 0 <= value <= most):
                raise ValueError(f"{name} of these weights cannot be {value!s:.80}. Make them with IPAdapter Weights.")
        return cls(**known)


@dataclass(frozen=True)
class Timeline:
    """A weight for each frame and, in a fade, two images by number: the frame goes from `first` to `second`."""

    weights: tuple[float, ...]
    first: tuple[int, ...] | None = None
    second: tuple[int, ...] | None = None

    def extended(self, before: int, after: int) -> "Timeline":
        """The timeline with `before` copies of its first frame in front and `after` copies of its last frame behind."""

        def extend(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return values[:1] * before + values + values[-1:] * after

        first, second = (images if images is None else extend(images) for images in (self.first, self.second))
        return Timeline(extend(self.weights), first, second)


def parse_weights(text: str) -> list[float]:
    """The numbers of a text, separated by commas or line breaks.

    Raises:
        ValueError: an entry is not a finite number; the message quotes it.
    """
    numbers = []
    for word in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"Weights are numbers separated by commas or line breaks; {word!r:.80} is not one.")
        numbers.append(number)
    return numbers


def frame_weights(strategy: Strategy) -> list[float]:
    """The weight of each frame for a single image, (frames,): the typed weights if the timing is "custom", else a
    transition from the first typed weight to the last over `frames` frames, at least 2.

    Raises:
        ValueError: an entry that is no number, an unknown timing, or a transition that starts after its end.
    """
    typed = parse_weights(strategy.weights)
    if strategy.timing == CUSTOM:
        return typed or [0.0]
    frames = max(strategy.frames, 2)
    start, end = strategy.start_frame, min(strategy.end_frame, frames)
    if start > end:
        raise ValueError(
            f"start_frame is {start}, but the transition ends at frame {end} (the smaller of end_frame, "
            f"{strategy.end_frame}, and frames, {frames}). Start earlier, or raise both."
        )
    first, last = (typed[0], typed[-1]) if typed else (0.0, 1.0)
    return [first] * start + transition(strategy, first, last, end - start) + [last] * (frames - end)


def transition(strategy: Strategy, first: float, last: float, duration: int) -> list[float]:
    """`duration` weights from `first` to `last`, both included; a single weight is `last`."""
    if strategy.timing == RANDOM:
        draw = random.Random(strategy.random_seed)
        return [draw.uniform(first, last) for _ in range(duration)]
    if strategy.timing not in TRANSITIONS:
        raise ValueError(f"Timing {strategy.timing!r:.80} is not known; choose one of: {', '.join(TIMINGS)}")
    way = TRANSITIONS[strategy.timing]
    weights = [first + (last - first) * way(i / (duration - 1)) for i in range(duration - 1)]
    return [*weights, last] if duration else []


def repeat_each(images: Iterable[int], times: int) -> tuple[int, ...]:
    """Every image number `times` times in a row, (images * times,)."""
    return tuple(image for image in images for _ in range(times))


def full_batch(weights: list[float], images: int) -> Timeline:
    """Each image for as many frames as there are weights, (images * weights,)."""
    return Timeline(tuple(weights) * images, repeat_each(range(images), len(weights)))


def shift_batches(weights: list[float], images: int) -> Timeline:
    """A fade from each image to the next, ((images - 1) * weights,)."""
    frames = len(weights)
    first, second = repeat_each(range(images - 1), frames), repeat_each(range(1, images), frames)
    return Timeline(tuple(weights) * (images - 1), first, second)


def alternate_batches(weights: list[float], images: int) -> Timeline:
    """Fades between an even image and an odd image, forwards and backwards in turn, ((images - 1) * weights,).

    `first` is always the even image and `second` the odd image. Each changes while the other has the full weight.
    """
    low, high = min(weights), max(weights)
    back = [high - (weight - low) for weight in weights]
    legs = [weights, back] * images  # one leg per step from an image to the next
    evens, odds = (list(repeat_each(range(start, images, 2), 2)) for start in (0, 1))
    first, second = evens[1:], odds
    steps = images - 1
    frames = len(weights)
    return Timeline(
        tuple(weight for leg in legs[:steps] for weight in leg),
        repeat_each(first[:steps], frames),
        repeat_each(second[:steps], frames),
    )


METHODS: dict[str, Callable[[list[float], int], Timeline]] = {
    "full batch": full_batch,
    "shift batches": shift_batches,
    "alternate batches": alternate_batches,
}


def timeline(strategy: Strategy, images: int = 0) -> tuple[Timeline, Strategy]:
    """The timeline of a strategy for a number of reference images, and the strategy with the number of frames used.

    Raises:
        ValueError: from `frame_weights`; an unknown method; or a fade between images with a single image.
    """
    weights = frame_weights(strategy)
    used = replace(strategy, frames=len(weights))
    if not images:
        return Timeline(tuple(weights)), used
    if strategy.method not in METHODS:
        raise ValueError(f"Method {strategy.method!r:.80} is not known; choose one of: {', '.join(METHODS)}")
    if images == 1 and strategy.method != "full batch":
        raise ValueError(
            f"'{strategy.method}' fades from image to image and needs at least two images; the batch holds 1."
        )
    frames = METHODS[strategy.method](weights, images)
    return frames.extended(strategy.add_starting_frames, strategy.add_ending_frames), used


def prompt_schedule(strategy: Strategy, images: int, text: str) -> str:
    """One prompt per image as lines of `"frame": "prompt",`, the form that prompt schedulers read.

    Each line of the text is a prompt. The last line serves all further images. Without lines or images the schedule is
    empty.
    """
    prompts = [line for line in text.splitlines() if line.strip()][:images]
    if not prompts or not images:
        return ""
    prompts += prompts[-1:] * (images - len(prompts))
    before = strategy.add_starting_frames
    entries = [(before + i * strategy.frames, prompt) for i, prompt in enumerate(prompts)]
    if before:
        entries.insert(0, (0, prompts[0]))
    if strategy.add_ending_frames:
        entries.append((before + images * strategy.frames, prompts[-1]))
    return "".join(f'"{frame}": {json.dumps(prompt, ensure_ascii=False)},\n' for frame, prompt in entries)

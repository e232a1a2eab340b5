"""An image prompt: the keys and values of a reference image for every site of a model, and how strongly they act.

A prompt is made before sampling and never changed. `arrange` gives what a site needs from it, in the order of the rows
of a model call.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .attention import SCALINGS, Pair, Weight, split_heads
from .mechanisms import CROSS_ATTENTION, Mechanism
from .pulid_rules import Rule
from .sites import Layer, SiteNumber
from .weights import Weights

POSITIVE, NEGATIVE = "positive", "negative"
Area = tuple[int, int, int, int]  # height, width, top, left, in latent pixels


class KeysValues(NamedTuple):
    """Keys and values of one site, (images, tokens, channels) each: for the positive rows, and for the negative."""

    positive: Pair
    negative: Pair

    def pick(self, images: Sequence[int] | None) -> "KeysValues":
        """Those of some images, or of all for None; an image beyond the last is the last."""
        if images is None:
            return self
        (k, v), (no_k, no_v) = self.positive, self.negative
        return KeysValues(
            (pick_images(k, images), pick_images(v, images)), (pick_images(no_k, images), pick_images(no_v, images))
        )


@dataclass(frozen=True)
class Rows:
    """The rows of a model call: chunks of frames, where each chunk sees the positive or the negative tokens."""

    branches: tuple[str, ...]
    frames: int
    window: tuple[int, ...] | None = None  # which of all frames these are, where a context window is sampled
    areas: tuple[Area | None, ...] = ()  # the part of the canvas a chunk covers, where a conditioning has an area
    canvas: tuple[int, int] | None = None  # latent height and width that areas refer to

    @property
    def indices(self) -> tuple[int, ...]:
        """The number of every frame of this call in the whole batch."""
        return self.window if self.window is not None else tuple(range(self.frames))

    def pick_frames(self, x: Tensor) -> Tensor:
        """One entry per frame of this call from one per frame of the batch: a short batch repeats its last entry, a
        long one is cut.
        """
        return x[torch.tensor([min(frame, len(x) - 1) for frame in self.indices], device=x.device)]


def pick_images(x: Tensor, images: Sequence[int]) -> Tensor:
    """Some entries of x (images, ...); an entry beyond the last is the last."""
    return x[[min(image, len(x) - 1) for image in images]]


class Source(ABC):
    """Gives a prompt's keys and values site by site: stored, or computed while sampling."""

    images: int  # reference images, or frames of them where the prompt is per frame
    timed: bool = False  # whether keys and values differ from moment to moment of sampling
    models: tuple[object, ...] = ()  # what the host loads while sampling, where keys and values are computed on the way

    @abstractmethod
    def pair(self, site: SiteNumber, images: Sequence[int] | None, sigma: float | None) -> KeysValues:
        """Keys and values of a site: of all images, or of the image that each frame sees.

        `sigma` is the moment of sampling; None where the source is not timed.
        """

    def layer(self, site: SiteNumber) -> nn.Module | None:
        """The adapter's modules of a site, for adapters with queries of their own."""
        return None

    def norms(self, site: SiteNumber) -> Pair | None:
        """The weights of the adapter's own norms of a site's queries and keys, (head width,) each."""
        return None

    def forget(self) -> None:  # noqa: B027  (most sources hold no such thing)
        """Drop what was computed while sampling: the run is over."""


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """A reference image as a prompt: its keys and values, its weights, its range of sampling, its region.

    `start_at` and `end_at` are sampling percents. `mask` is (m, height, width), one per frame or one for all. `rule`
    makes of its attention what is added to the text's.
    """

    source: Source
    weights: Weights
    start_at: float = 0.0
    end_at: float = 1.0
    scaling: str = "V only"
    mask: Tensor | None = None
    per_frame: bool = False
    mechanism: Mechanism = CROSS_ATTENTION
    rule: Rule | None = None

    @property
    def layers(self) -> int:
        """How many of a model's layers it has weights for: the first, and of a transformer perhaps not all."""
        return len(self.first_weights)

    @cached_property
    def first_weights(self) -> tuple[float, ...]:
        """The weight of every layer at the start of sampling; at every moment, where the weights are constant."""
        return self.weights.at(0.0)

    @cached_property
    def depends_on_sigma(self) -> bool:
        """Whether anything about this prompt changes while sampling."""
        if self.weights.constant and not any(self.first_weights):
            return False  # it never acts
        return self.source.timed or not self.weights.constant or self.start_at > 0 or self.end_at < 1

    def reaches(self, layer: Layer) -> bool:
        """Whether it ever acts in a layer."""
        return layer < self.layers and (not self.weights.constant or self.first_weights[layer] != 0)

    def images_of(self, rows: Rows) -> list[int] | None:
        """The image that every frame of a model call sees, or None where all frames see all images."""
        return [min(frame, self.source.images - 1) for frame in rows.indices] if self.per_frame else None

    @property
    def rows_differ(self) -> bool:
        """Whether every row needs its own K/V, rather than every chunk."""
        return self.per_frame or bool(self.weights.frames)


def arrange(prompt: ImagePrompt, pair: KeysValues, layer: Layer, rows: Rows, heads: int, weight: float) -> Pair:
    """K and V of a site, `pair` as its source gives them, scaled by weight, in the order of a model call's rows.

    Each is (chunks, heads, tokens, channels / heads), or (rows, ...) where every row has its own; the tokens are
    those of all images.
    """
    pushed = layer in prompt.weights.swapped
    of_branch = {POSITIVE: pair.positive, NEGATIVE: pair.positive if pushed else pair.negative}
    arranged = {branch: _weighted(prompt, rows, *of_branch[branch], weight) for branch in set(rows.branches)}
    k, v = (torch.cat([arranged[branch][side] for branch in rows.branches]) for side in (0, 1))
    return split_heads(k, heads), split_heads(v, heads)


def branch_factors(prompt: ImagePrompt, layer: Layer, rows: Rows) -> tuple[float, ...] | None:
    """The factor of every chunk, None where all are 1: on a swapped layer that of positive rows is 0."""
    if layer not in prompt.weights.swapped or POSITIVE not in rows.branches:
        return None
    return tuple(0.0 if branch == POSITIVE else 1.0 for branch in rows.branches)


def _weighted(prompt: ImagePrompt, rows: Rows, k: Tensor, v: Tensor, weight: Weight) -> Pair:
    stack = 1 if prompt.per_frame else 0
    k, v = k.unsqueeze(stack), v.unsqueeze(stack)  # (rows or 1, images of a row, tokens, channels)
    if prompt.weights.frames:
        frame_weights = torch.tensor(prompt.weights.frames, dtype=torch.float32, device=k.device).view(-1, 1, 1, 1)
        weight = (rows.pick_frames(frame_weights) * weight).to(k.dtype)
    k, v = SCALINGS[prompt.scaling](k, v, weight)
    count = rows.frames if prompt.rows_differ else 1
    k, v = (x.expand(count, -1, -1, -1).flatten(1, 2) for x in (k, v))
    return k, v

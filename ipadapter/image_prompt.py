"""An image prompt: the keys and values of a reference image for every site of a model, and how strongly they act.

A prompt is made before sampling and never changed. `arrange` puts its keys and values of a site into the order of a
model call's rows.
"""

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
        """The keys and values of some images, all for None; an index beyond the last image means the last."""
        if images is None:
            return self
        (k, v), (no_k, no_v) = self.positive, self.negative
        return KeysValues(
            (pick_images(k, images), pick_images(v, images)), (pick_images(no_k, images), pick_images(no_v, images))
        )


class AllImages(NamedTuple):
    """Keys and values of one site, (images, tokens, channels) each: those for positive rows, then those for negative.

    `positives` is the number of images for positive rows.
    """

    keys: Tensor
    values: Tensor
    positives: int


@dataclass(frozen=True)
class Rows:
    """The rows of a model call: one chunk of `frames` rows per branch, which gets the positive or negative tokens."""

    branches: tuple[str, ...]
    frames: int
    window: tuple[int, ...] | None = None  # numbers of these frames in the whole batch, in a context window
    areas: tuple[Area | None, ...] = ()  # the part of the canvas that each chunk covers; empty: all of it
    canvas: tuple[int, int] | None = None  # latent height and width that areas refer to
    placed: bool = True  # whether the numbers of these frames in the whole batch are known

    @property
    def indices(self) -> tuple[int, ...]:
        """The number of every frame of this call, counted in the whole batch from 0."""
        return self.window if self.window is not None else tuple(range(self.frames))

    def pick_frames(self, x: Tensor) -> Tensor:
        """The entries of x (frames of the batch, ...) for the frames of this call, (frames, ...).

        If x is too short, its last entry is repeated.
        """
        return x[torch.tensor([min(frame, len(x) - 1) for frame in self.indices], device=x.device)]


def pick_images(x: Tensor, images: Sequence[int]) -> Tensor:
    """Some entries of x (images, ...); an index beyond the last image means the last."""
    return x[[min(image, len(x) - 1) for image in images]]


class Source:
    """The source of a prompt's keys and values, site by site: stored, or computed while sampling.

    A source has one of two methods: `pair_at` if it is timed, otherwise `pair`.
    """

    images: int  # number of reference images; if the prompt is per frame, number of frames with an image
    timed: bool = False  # whether keys and values depend on sigma
    models: tuple[object, ...] = ()  # model patchers that the host loads for sampling, to compute keys and values then

    def pair(self, site: SiteNumber, images: Sequence[int] | None) -> KeysValues:
        """Keys and values of a site: of all images (None), or of the images with these numbers, one per frame."""
        raise NotImplementedError

    def pair_at(self, site: SiteNumber, sigma: float | None) -> AllImages:
        """Keys and values of a site at a sigma."""
        raise NotImplementedError

    def layer(self, site: SiteNumber) -> nn.Module | None:
        """The adapter's modules of a site, for adapters with queries of their own; None for others."""
        return None

    def norms(self, site: SiteNumber) -> Pair | None:
        """The weights of the adapter's own norms of a site's queries and keys, (head width,) each; None without."""
        return None

    def forget(self) -> None:
        """Drop tensors that were computed while sampling; called at the end of a run."""


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """A reference image as a prompt: its keys and values, its weights, its range of sampling, its region.

    `start_at` and `end_at` are sampling percents, 0 to 1. `mask` is (m, height, width), one per frame or one for all.
    `rule` turns the image attention into the term that is added to the text attention.
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
        """For how many layers the prompt has weights; of a transformer perhaps only for the first ones."""
        return len(self.first_weights)

    @cached_property
    def first_weights(self) -> tuple[float, ...]:
        """The weight of every layer at the start of sampling; constant weights have this value at every step."""
        return self.weights.at(0.0)

    @cached_property
    def depends_on_sigma(self) -> bool:
        """Whether the prompt's range, weights, or keys and values depend on sigma."""
        if self.weights.constant and not any(self.first_weights):
            return False  # all weights are 0 in all steps
        return self.source.timed or not self.weights.constant or self.start_at > 0 or self.end_at < 1

    def reaches(self, layer: Layer) -> bool:
        """Whether the prompt has a weight other than 0 in a layer at some step."""
        return layer < self.layers and (not self.weights.constant or self.first_weights[layer] != 0)

    def images_of(self, rows: Rows) -> list[int] | None:
        """The number of the image for every frame of a model call; None if all frames get all images."""
        return [min(frame, self.source.images - 1) for frame in rows.indices] if self.per_frame else None

    @property
    def rows_differ(self) -> bool:
        """Whether keys and values differ between the rows of a chunk."""
        return self.per_frame or bool(self.weights.frames)

    @property
    def frames_differ(self) -> bool:
        """Whether frames of the batch follow different pictures, with different weights or in different regions."""
        pictures = self.source.images if self.per_frame else 1
        return pictures > 1 or len(set(self.weights.frames)) > 1 or (self.mask is not None and len(self.mask) > 1)


def arrange(prompt: ImagePrompt, pair: KeysValues, layer: Layer, rows: Rows, heads: int, weight: float) -> Pair:
    """Keys and values of a site (`pair`, from the prompt's source), scaled by `weight`, in the order of a call's rows.

    Each is (chunks, heads, tokens, channels / heads), or (rows, ...) if `rows_differ`. The tokens of all images of a
    row are joined.
    """
    pushed = layer in prompt.weights.swapped
    of_branch = {POSITIVE: pair.positive, NEGATIVE: pair.positive if pushed else pair.negative}
    arranged = {branch: _weighted(prompt, rows, *of_branch[branch], weight) for branch in set(rows.branches)}
    k, v = (torch.cat([arranged[branch][side] for branch in rows.branches]) for side in (0, 1))
    return split_heads(k, heads), split_heads(v, heads)


def images_of_rows(prompt: ImagePrompt, images: AllImages, layer: Layer, rows: Rows) -> list[list[int]]:
    """The numbers in `images` of those that each row of a call sees in a layer."""
    numbers = range(len(images.keys))
    of_branch = {POSITIVE: numbers[: images.positives], NEGATIVE: numbers[images.positives :]}
    if layer in prompt.weights.swapped:
        of_branch[NEGATIVE] = of_branch[POSITIVE]
    frames, seen = prompt.images_of(rows), []
    for own in (of_branch[branch] for branch in rows.branches):
        seen += [list(own)] * rows.frames if frames is None else [[own[min(i, len(own) - 1)]] for i in frames]
    return seen


def branch_factors(prompt: ImagePrompt, layer: Layer, rows: Rows) -> tuple[float, ...] | None:
    """The factor of every chunk, None if all are 1. In a swapped layer, positive chunks have the factor 0."""
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

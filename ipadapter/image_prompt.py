"""An image prompt: the keys and values of a reference image for every site of a model, and how strongly they act.

Everything here is computed before sampling. An image prompt is never changed; what sampling needs from it, in the
order of the rows of a model call, comes from `arrange`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .attention import SCALINGS, Pair, Weight, split_heads
from .transformer_formats import Mechanism
from .weights import Weights

POSITIVE, NEGATIVE = "positive", "negative"
Area = tuple[int, int, int, int]  # height, width, top, left, in latent pixels


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of one site, (images, tokens, channels) each: of the image, and of what the negative prompt
    sees.
    """

    positive: tuple[Tensor, Tensor]
    negative: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Rows:
    """What the rows of a model call are: chunks of frames, each chunk seeing the positive or the negative tokens."""

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


# Keys and values of a site, by its number in execution order: of all images, or of those that each frame looks at, at a
# moment of sampling (sigma) where they depend on it.
Source = Callable[[int, Sequence[int] | None, float | None], KeysValues]


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """A reference image as a prompt: its keys and values, its weights, its range of sampling, its place.

    `mask` is (m, height, width), one per frame or one for all.
    """

    keys_values: Source
    weights: Weights
    start_at: float = 0.0
    end_at: float = 1.0
    scaling: str = "V only"
    mask: Tensor | None = None
    per_frame: bool = False
    images: int = 1  # reference images, or frames of them where per_frame
    timed: bool = False  # whether keys and values differ from moment to moment of sampling
    models: tuple[object, ...] = ()  # what the host keeps loaded while sampling, where K/V are computed on the way
    mechanism: Mechanism = "cross-attention"  # how its attention joins the model's
    norms: Callable[[int], Pair] | None = None  # of a site's queries and keys, where the adapter has its own
    forget: Callable[[], None] = lambda: None  # drops what was computed on the way, once sampling is over

    @property
    def joined(self) -> bool:
        """Whether its tokens share an attention with the picture's own, so that values cannot carry the weight."""
        return self.mechanism == "joint attention"

    @property
    def layers(self) -> int:
        """How many of a model's layers it has weights for: the first ones, of a transformer perhaps not all."""
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
        return self.timed or not self.weights.constant or self.start_at > 0 or self.end_at < 1

    def images_of(self, rows: Rows) -> list[int] | None:
        """The image that every frame of a model call looks at, or None where all frames look at all images."""
        return [min(frame, self.images - 1) for frame in rows.indices] if self.per_frame else None

    @property
    def rows_differ(self) -> bool:
        """Whether every row needs K/V of its own, rather than one set per chunk."""
        return self.per_frame or bool(self.weights.frames)


def arrange(
    prompt: ImagePrompt,
    site: int,
    layer: int,
    rows: Rows,
    heads: int,
    weight: float,
    sigma: float | None = None,
) -> tuple[Tensor, Tensor]:
    """K and V of a site, by its number and its layer's, scaled by weight, in the order of a model call's rows.

    Each is (chunks, heads, tokens, channels / heads), or (rows, ...) where every row has its own; the tokens are
    those of all images.
    """
    source = prompt.keys_values(site, prompt.images_of(rows), sigma if prompt.timed else None)
    pushed = layer in prompt.weights.swapped
    of_branch = {POSITIVE: source.positive, NEGATIVE: source.positive if pushed else source.negative}
    arranged = {branch: _weighted(prompt, rows, *of_branch[branch], weight) for branch in set(rows.branches)}
    k, v = (torch.cat([arranged[branch][side] for branch in rows.branches]) for side in (0, 1))
    return split_heads(k, heads), split_heads(v, heads)


def branch_factors(prompt: ImagePrompt, layer: int, rows: Rows) -> tuple[float, ...] | None:
    """The factor of every chunk where chunks differ: on a swapped layer the positive rows get nothing."""
    if layer not in prompt.weights.swapped or POSITIVE not in rows.branches:
        return None
    return tuple(0.0 if branch == POSITIVE else 1.0 for branch in rows.branches)


def _weighted(prompt: ImagePrompt, rows: Rows, k: Tensor, v: Tensor, weight: Weight) -> tuple[Tensor, Tensor]:
    stack = 1 if prompt.per_frame else 0
    k, v = k.unsqueeze(stack), v.unsqueeze(stack)  # (rows or 1, images of a row, tokens, channels)
    if prompt.weights.frames:
        frame_weights = torch.tensor(prompt.weights.frames, dtype=torch.float32, device=k.device).view(-1, 1, 1, 1)
        weight = (rows.pick_frames(frame_weights) * weight).to(k.dtype)
    k, v = SCALINGS[prompt.scaling](k, v, weight)
    count = rows.frames if prompt.rows_differ else 1
    return tuple(x.expand(count, -1, -1, -1).flatten(1, 2) for x in (k, v))  # type: ignore[return-value]

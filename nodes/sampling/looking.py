"""Riding references, the keys and values that are captured of them, and the interface of a model's self-attentions."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.image_prompt import NEGATIVE, Rows
from ...ipadapter.reference_attention import Biases, Moments, Seen, Share
from ...ipadapter.sites import Layer
from ...ipadapter.weights import Weights
from ...weight_schedules.position import SamplingPosition
from ..host_types import OwnOptions
from .arranged import mask_of_rows
from .riders import ModelCall

if TYPE_CHECKING:
    from .riding import Ride

Text = OwnOptions  # a conditioning as ComfyUI's samplers have it: `cross_attn`, `pooled_output` and others


@dataclass(frozen=True, eq=False)
class RidingReference:
    """A reference that the model runs on, and how strongly the picture's self-attentions attend to it.

    `latent` (images, channels, height, width) is encoded by the model's VAE. `weights` are shares of the attention, 0
    to 1. `text` is the conditioning of the reference's call; None for the run's negative conditioning. `match`, 0 to 1,
    is how far queries take the reference's mean and deviation. `negative` multiplies the share in negative rows.
    """

    latent: Tensor
    weights: Weights
    start_at: float = 0.0
    end_at: float = 1.0
    text: Text | None = None
    mask: Tensor | None = None
    competes: bool = False
    match: float = 0.0
    negative: float = 1.0
    per_frame: bool = False

    def shares(self, position: SamplingPosition, sigma: float) -> tuple[float, ...]:
        """The share in every layer at a sigma, each from 0 to 1; empty outside of the reference's range."""
        if not position.active(sigma, self.start_at, self.end_at):
            return ()
        weights = self.weights.at(0.0 if self.weights.constant else position.percent(sigma))
        return tuple(min(max(weight, 0.0), 1.0) for weight in weights)

    @property
    def needs_rows(self) -> bool:
        """Whether the share differs between rows, so that the branch of every row has to be known."""
        return self.per_frame or self.mask is not None or self.negative != 1 or bool(self.weights.frames)

    @property
    def frames_differ(self) -> bool:
        """Whether frames of the batch look at different references, or at one with different weights or masks."""
        pictures = len(self.latent) if self.per_frame else 1
        return pictures > 1 or bool(self.weights.frames) or (self.mask is not None and len(self.mask) > 1)


class Captured(NamedTuple):
    """Keys and values of a reference in one self-attention, (images, tokens, channels); the moments of its queries and
    keys if the reference has a `match`. Where heads of keys are repeated, each is kept once.
    """

    k: Tensor
    v: Tensor
    queries: Moments | None
    keys: Moments | None


Kept = dict[Hashable, Captured]  # by the address of the self-attention


@dataclass(frozen=True, eq=False)
class Looking:
    """The references of one call: the captured keys and values, and a share in every layer.

    A grid has the rows and columns of the picture's tokens, behind the number of frames in a model that has them.
    """

    ride: "Ride"
    shares: Mapping[RidingReference, Sequence[float]]
    kept: Mapping[RidingReference, Kept]
    rows: Rows
    biases: Biases = field(default_factory=dict)  # of the call's attentions with shares that are numbers

    def seen(self, layer: Layer, address: Hashable, grid: tuple[int, ...], q: Tensor) -> list[Seen]:
        """The references with a share in a self-attention; q (rows, tokens, channels) are the picture's queries."""
        found = []
        for reference, share in self.shares.items():  # a comprehension is one more Python call in every layer
            if share[layer] and address in self.kept[reference]:
                found.append(self._seen(reference, self.kept[reference][address], share[layer], grid, q))  # noqa: PERF401
        return found

    def _seen(
        self, reference: RidingReference, captured: Captured, weight: float, grid: tuple[int, ...], q: Tensor
    ) -> Seen:
        share, pictures = self._share(reference, weight, grid, q), captured.k.shape[0]
        how = (share, reference.competes, 1 if reference.per_frame else pictures, reference.match)
        if pictures == 1:
            return Seen(captured.k, captured.v, *how, captured.queries, captured.keys)
        order = self._order(pictures, q.device) if reference.per_frame else None

        def of_rows(x: Tensor) -> Tensor:
            return x.flatten(0, 1).unsqueeze(0) if order is None else x[order]

        def averaged(found: Moments | None) -> Moments | None:
            if found is None:
                return None
            return Moments(*(x.mean(0, keepdim=True) if order is None else x[order] for x in found))

        tokens = of_rows(captured.k), of_rows(captured.v)
        return Seen(*tokens, *how, averaged(captured.queries), averaged(captured.keys))

    def _order(self, pictures: int, device: torch.device) -> Tensor:
        """The number of every row's picture. It stays on the device, because the host would wait for a copy of a list
        in every layer.
        """
        rows = self.rows

        def made() -> Tensor:
            frames = [min(frame, pictures - 1) for frame in rows.indices]
            return torch.tensor(frames * len(rows.branches), device=device)

        return self.ride.stored.get((pictures, rows, device), made)[0]

    def _share(self, reference: RidingReference, weight: float, grid: tuple[int, ...], q: Tensor) -> Share:
        rows, frames, factors = self.rows, reference.weights.frames, None
        if reference.negative != 1 and NEGATIVE in rows.branches:
            factors = tuple(reference.negative if branch == NEGATIVE else 1.0 for branch in rows.branches)
        if reference.mask is None and factors is None and not frames:
            return weight
        key = (reference, factors, rows, grid, q.device, q.dtype)

        def share_of_rows() -> Tensor:
            *times, height, width = grid
            mask = mask_of_rows(reference.mask, factors, rows, (height, width), frames).to(q)
            return mask.repeat(1, *times, 1) if times and mask.shape[1] > 1 else mask

        return weight * self.ride.stored.get(key, share_of_rows)[0]


class SelfAttentions(ABC):
    """The self-attentions of a kind of model: how references are captured there, and attended to."""

    @property
    def notes(self) -> Sequence[str]:
        """Notes that are shown once in a run with references."""
        return ()

    def check(self, model: ModelPatcher, layers: Collection[Layer]) -> None:  # noqa: B027  (most need nothing)
        """Raise AdapterError if another pack replaced a self-attention of these layers by code that takes no patch."""

    @abstractmethod
    def capture(self, call: ModelCall, shares: Sequence[float], matched: bool, picture: ModelCall) -> Kept:
        """Run the model on a reference, and return its keys and values in the layers in which it has a share.

        `call` is the reference's call, `picture` the picture's call of the same step. With `matched`, the moments of
        queries and keys are captured too.
        """

    @abstractmethod
    def look(self, call: ModelCall, looking: Looking) -> ModelCall:
        """The picture's call with references in its self-attentions."""

    def moment(self, call: ModelCall) -> Hashable:
        """The property of the picture's call that captured keys and values depend on, beside sigma and hooks."""
        return None

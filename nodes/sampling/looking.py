"""Self-attentions of a UNet with riding references: captured in the reference's call, attended to in the picture's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from ...ipadapter.image_prompt import NEGATIVE, Rows
from ...ipadapter.reference_attention import Moments, Seen, Share, look, moments
from ...ipadapter.sites import Address
from ...ipadapter.weights import Weights
from ...weight_schedules.position import SamplingPosition
from ..host_types import OwnOptions
from .arranged import Grid, mask_of_rows
from .patches import SelfAttentionPatch, refuse_recording
from .unet import text_attention as model_attention

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
    keys if the reference has a `match`.
    """

    k: Tensor
    v: Tensor
    queries: Moments | None
    keys: Moments | None


Kept = dict[Address, Captured]


def own_attention(patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
    """The output of a self-attention without references: the earlier patch's, if there is one, else the host's."""
    return (patch.before or model_attention)(q, k, v, options)


@dataclass(eq=False)
class Capture:
    """Stores keys and values of every self-attention in the reference's call, with their moments if `match` needs them.
    """

    wants_moments: bool
    kept: Kept = field(default_factory=dict)

    def attend(self, patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        if k.shape[1] == q.shape[1]:  # in some blocks of upscaling models, this attention reads the text
            both = (moments(q), moments(k)) if self.wants_moments else (None, None)
            self.kept[patch.site.address] = Captured(k, v, *both)
        return own_attention(patch, q, k, v, options)


@dataclass(frozen=True, eq=False)
class Looking:
    """Adds references to the self-attentions of one call: the captured keys and values, and a share in every layer."""

    ride: "Ride"
    shares: Mapping[RidingReference, Sequence[float]]
    kept: Mapping[RidingReference, Kept]
    rows: Rows

    def attend(self, patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        refuse_recording()
        grid = tuple(options["activations_shape"][-2:])
        site, seen = patch.site, []
        if q.shape[1] == grid[0] * grid[1]:  # else a node has merged tokens, or attends tile by tile
            seen = [
                self._seen(reference, self.kept[reference][site.address], share[site.layer], grid, q)
                for reference, share in self.shares.items()
                if share[site.layer] and site.address in self.kept[reference]
            ]
        if not seen:
            return own_attention(patch, q, k, v, options)
        self.ride.reached = True
        own = cache(lambda: own_attention(patch, q, k, v, options))
        if patch.before is not None:
            own()  # the earlier patch may need every call: Self-Attention Guidance's records the attention
        return look(own, q, k, v, options["n_heads"], seen, lambda q, k, v: model_attention(q, k, v, options))

    def _seen(self, reference: RidingReference, captured: Captured, weight: float, grid: Grid, q: Tensor) -> Seen:
        share, pictures = self._share(reference, weight, grid, q), len(captured.k)
        how = (share, reference.competes, 1 if reference.per_frame else pictures, reference.match)
        if pictures == 1:
            return Seen(captured.k, captured.v, *how, captured.queries, captured.keys)
        frames = [min(frame, pictures - 1) for frame in self.rows.indices] * len(self.rows.branches)

        def of_rows(x: Tensor) -> Tensor:
            return x[frames] if reference.per_frame else x.flatten(0, 1).unsqueeze(0)

        def averaged(found: Moments | None) -> Moments | None:
            if found is None:
                return None
            return Moments(*(x[frames] if reference.per_frame else x.mean(0, keepdim=True) for x in found))

        tokens = of_rows(captured.k), of_rows(captured.v)
        return Seen(*tokens, *how, averaged(captured.queries), averaged(captured.keys))

    def _share(self, reference: RidingReference, weight: float, grid: Grid, q: Tensor) -> Share:
        rows, frames, factors = self.rows, reference.weights.frames, None
        if reference.negative != 1 and NEGATIVE in rows.branches:
            factors = tuple(reference.negative if branch == NEGATIVE else 1.0 for branch in rows.branches)
        if reference.mask is None and factors is None and not frames:
            return weight
        key = (reference, factors, rows, grid, q.device, q.dtype)

        def share_of_rows() -> Tensor:
            return mask_of_rows(reference.mask, factors, rows, grid, frames).to(q)

        return weight * self.ride.masks.get(key, share_of_rows)[0]

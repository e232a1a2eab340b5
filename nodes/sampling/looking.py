"""A self-attention of a UNet while a reference rides along: in the reference's own call, and in the picture's calls."""

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
from .patches import SelfAttentionPatch
from .unet import text_attention as model_attention

if TYPE_CHECKING:
    from .riding import Ride

Text = OwnOptions  # a conditioning as ComfyUI's samplers have it: `cross_attn`, `pooled_output` and others


@dataclass(frozen=True, eq=False)
class RidingReference:
    """A reference and how the picture looks at it.

    `latent` (images, channels, height, width) is of the model's VAE. `weights` are shares of the attention. `text` is
    what the model reads while it runs on the reference; None for the run's own negative conditioning. `match` is how
    far queries take the reference's moments, `negative` a factor of the share in rows of the negative prompt.
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
        """Its share in every layer at a sigma, each from 0 to 1; empty outside of its range."""
        if not position.active(sigma, self.start_at, self.end_at):
            return ()
        weights = self.weights.at(0.0 if self.weights.constant else position.percent(sigma))
        return tuple(min(max(weight, 0.0), 1.0) for weight in weights)

    @property
    def needs_rows(self) -> bool:
        """Whether rows of a call are treated differently."""
        return self.per_frame or self.mask is not None or self.negative != 1 or bool(self.weights.frames)


class Captured(NamedTuple):
    """Keys and values of a reference in one self-attention, (images, tokens, channels), with moments if they count."""

    k: Tensor
    v: Tensor
    queries: Moments | None
    keys: Moments | None


Kept = dict[Address, Captured]


def own_attention(patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
    """What a self-attention gives without references."""
    return (patch.before or model_attention)(q, k, v, options)


@dataclass(eq=False)
class Capture:
    """Notes keys and values of every self-attention that a call runs, with moments if they are wanted."""

    wants_moments: bool
    kept: Kept = field(default_factory=dict)

    def attend(self, patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        if k.shape[1] == q.shape[1]:  # some blocks of upscaling models attend to the text instead
            both = (moments(q), moments(k)) if self.wants_moments else (None, None)
            self.kept[patch.site.address] = Captured(k, v, *both)
        return own_attention(patch, q, k, v, options)


@dataclass(frozen=True, eq=False)
class Looking:
    """Lets the rows of one call look at references: what each gave, and its share in every layer."""

    ride: "Ride"
    shares: Mapping[RidingReference, Sequence[float]]
    kept: Mapping[RidingReference, Kept]
    rows: Rows

    def attend(self, patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        grid = tuple(options["activations_shape"][-2:])
        site, seen = patch.site, []
        if q.shape[1] == grid[0] * grid[1]:  # some nodes merge tokens, or attend tile by tile
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
            own()  # it may note what it sees, as that of Self-Attention Guidance does
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

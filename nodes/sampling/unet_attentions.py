"""Self-attentions of a UNet with riding references: captured in the reference's call, attended to in the picture's.

Each is replaced by a patch that is set in the options of one call only.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.reference_attention import look, moments
from ...ipadapter.sites import Layer, Site
from ..host_types import OwnOptions
from .compiled import graph_keyword, is_compiled, safe_graphs, serving_graphs
from .looking import Captured, Kept, Looking, SelfAttentions
from .originals import refuse_replaced_projections
from .patches import SelfAttentionPatch, refuse_recording
from .riders import ModelCall
from .unet import text_attention as model_attention


def own_attention(patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
    """The output of a self-attention without references: the earlier patch's, if there is one, else the host's."""
    if patch.before is not None:
        return patch.before(q, k, v, options)
    return model_attention(q, k, v, options, patch.site.preferred_self_attention)


def keep(
    kept: Kept, matched: bool, patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions
) -> Tensor:
    """Store keys and values of a self-attention of a reference, and return its output unchanged."""
    if k.shape[1] == q.shape[1]:  # in some blocks of upscaling models, this attention reads the text
        kept[patch.site.address] = Captured(k, v, *((moments(q), moments(k)) if matched else (None, None)))
    return own_attention(patch, q, k, v, options)


def attend(looking: Looking, patch: SelfAttentionPatch, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
    """The output of a self-attention of the picture, with references."""
    refuse_recording()
    grid, seen = tuple(options["activations_shape"][-2:]), []
    if q.shape[1] == grid[0] * grid[1]:  # else a node has merged tokens, or attends tile by tile
        seen = looking.seen(patch.site.layer, patch.site.address, grid, q)
    if not seen:
        return own_attention(patch, q, k, v, options)
    looking.ride.reached = True
    own = partial(own_attention, patch, q, k, v, options)
    if patch.before is not None:
        out = own()  # the earlier patch may need every call: Self-Attention Guidance's records the attention
        own = lambda: out  # noqa: E731
    see = partial(model_attention, options=options, preferred=patch.site.preferred_self_attention)
    return look(own, q, k, v, options["n_heads"], seen, see, looking.biases)


@dataclass(frozen=True, eq=False)
class UNetAttentions(SelfAttentions):
    """The self-attentions of a UNet; `sites` are its transformer blocks."""

    sites: Sequence[Site]

    def check(self, model: ModelPatcher, layers: Collection[Layer]) -> None:
        refuse_replaced_projections(model, [site for site in self.sites if site.layer in layers], "attn1")

    def capture(self, call: ModelCall, shares: Sequence[float], matched: bool, picture: ModelCall) -> Kept:
        kept: Kept = {}
        options, conds = self._patched(call.options, [shares], partial(keep, kept, matched)), call.conds
        if is_compiled(call.model, picture.options):
            conds = {**conds, graph_keyword(options): None}
        with serving_graphs(options), safe_graphs(call.model, options, conds):
            replace(call, options=options, conds=conds).run()
        return kept

    def look(self, call: ModelCall, looking: Looking) -> ModelCall:
        options, conds = self._patched(call.options, looking.shares.values(), partial(attend, looking)), call.conds
        if is_compiled(call.model, options):
            conds = {**conds, graph_keyword(options): None}  # selects another graph than for calls without references
        return replace(call, options=options, conds=conds)

    def _patched(
        self, options: OwnOptions, shares: Iterable[Sequence[float]], attend_at: Callable[..., Tensor]
    ) -> OwnOptions:
        """A copy of the options with a patch on every self-attention in which one of these references has a share."""
        replaced = options.get("patches_replace", {})
        present = replaced.get("attn1", {})
        acting = {layer for share in shares for layer, weight in enumerate(share) if weight}
        ours = {
            site.address: SelfAttentionPatch(
                site, number, attend_at, present.get(site.address, present.get(site.block))
            )
            for number, site in enumerate(self.sites)
            if site.layer in acting
        }
        return {**options, "patches_replace": {**replaced, "attn1": {**present, **ours}}}

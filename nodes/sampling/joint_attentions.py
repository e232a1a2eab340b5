"""Joint self-attentions of a transformer with riding references: captured, and attended to by the picture's rows.

ComfyUI calls an attention override in place of every attention of a model call. Ours computes the attention as it was,
and replaces the rows of the picture where a reference has a share.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import torch
from torch import Tensor

from ...ipadapter.joint_models import JointModel
from ...ipadapter.reference_attention import Beside, Seen, look, moments
from ...ipadapter.sequences import JOINED, Layout, heeds_references, layout_of, token_counts
from ..host_types import Options, OtherPatch, OwnOptions
from .backend import OVERRIDE, OwnOverride, biased_attention
from .compiled import safe_graphs
from .looking import Captured, Kept, Looking, SelfAttentions
from .positions import Positions
from .reference_override import ReferenceOverride, of_four_axes
from .riders import ModelCall

EXPERIMENT = (
    "IPAdapter Reference Attention is an experiment with {name}: its formulas were tested on tiny models, and pictures "
    "of published models have not been judged yet. The node's help page says which values to compare."
)


@dataclass(frozen=True)
class Attended:
    """One joint attention of a call, and its output `own` (rows, tokens, channels).

    q, k, v are (rows, heads, tokens, width). `plain` and `biased` compute attentions of (rows, tokens, channels) with
    the kernel of this one, and with one that can add to the logits. `bias` gives what is added to the logits of the
    picture's rows, (rows or 1, heads or 1, picture or 1, tokens), None for zeros.
    """

    own: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    layer: int
    layout: Layout
    plain: Callable[..., Tensor]
    biased: Callable[..., Tensor]
    bias: Callable[[], Tensor | None]

    @property
    def address(self) -> tuple[int, bool]:
        """Blocks of SD3.5 Medium have a second attention, without the text."""
        return self.layer, self.layout.text > 0

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        heads = self.q.shape[1]
        return self.plain(q, k, v, heads) if bias is None else self.biased(q, k, v, heads, bias)

    def beside(self) -> Beside | None:
        """The keys and values that are not the picture's; None if there are none."""
        picture = self.layout.of_picture
        if self.layout.keys == self.layout.picture:
            return None
        k, v = (flat(around(x, picture, 2)) for x in (self.k, self.v))
        bias = self.bias()
        return Beside(k, v, None if bias is None else torch.cat((bias[..., picture], around(bias, picture, 3)), dim=3))


def flat(x: Tensor) -> Tensor:
    """(rows, heads, tokens, width) as (rows, tokens, channels)."""
    return x.transpose(1, 2).flatten(2)


def own_copy(x: Tensor) -> Tensor:
    """x as (rows, tokens, channels) in memory of its own: a view would hold the whole sequence's."""
    return x.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(2)


def around(x: Tensor, picture: slice, axis: int) -> Tensor:
    """The entries of x for tokens before and behind the picture."""
    behind = x.narrow(axis, picture.stop, x.shape[axis] - picture.stop)
    return torch.cat((x.narrow(axis, 0, picture.start), behind), dim=axis)


class JointOverride(OwnOverride):
    """The attention override of one call. `visit` gives the output of every joint attention in one of `layers`."""

    def __init__(
        self, call: ModelCall, family: JointModel, layers: Iterable[int], visit: Callable[[Attended], Tensor]
    ) -> None:
        super().__init__(call, layers)
        # ReferenceWeights' override weighs an edit model's own references in all rows; here, their weights go into the
        # bias of the picture's rows.
        self.weighed = self.before if isinstance(self.before, ReferenceOverride) else None
        self.visit = visit
        self.picture = prod(token_counts(self.network, call.x.shape))
        filled = -self.picture % family.fills(self.network)
        self.layouts: dict[tuple[int, int], Layout | None] = {}  # by the numbers of keys and rows
        self.behind = (*own_references(family, call), *((filled,) if filled else ()))

    def attend(
        self,
        own: Callable[..., Tensor],
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None,
        more: OwnOptions,
    ) -> Tensor:
        out = own(q, k, v, heads, mask, **more)
        if not more.pop("skip_reshape", False):
            q, k, v = (x.flatten(2).unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        if (sizes := (k.shape[2], q.shape[2])) not in self.layouts:
            self.layouts[sizes] = layout_of(*sizes, self.picture, self.behind)
        layout = self.layouts[sizes]
        if layout is None:
            return out
        bias = partial(self._bias, mask, layer, layout, q)
        return self.visit(Attended(out, q, k, v, layer, layout, partial(own, **more), biased_attention(more), bias))

    def _bias(self, mask: Tensor | None, layer: int, layout: Layout, q: Tensor) -> Tensor | None:
        logs = None if self.weighed is None else self.weighed.picture_bias(layer, layout, q)
        if mask is None:
            return logs
        of_picture = of_four_axes(mask, q)
        of_picture = of_picture if of_picture.shape[2] == 1 else of_picture[:, :, layout.text : layout.head]
        return of_picture if logs is None else of_picture + logs


def own_references(family: JointModel, call: ModelCall) -> list[int]:
    """The numbers of tokens of the edit model's own reference pictures, which stand behind the picture."""
    references = call.conds.get("ref_latents") or ()
    network = call.model.diffusion_model
    if family.structure not in JOINED or not references or not heeds_references(network, call.conds):
        return []
    return [prod(token_counts(network, reference.shape)) for reference in references]


def keep(kept: Kept, matched: bool, positions: Positions, columns: float, at: Attended) -> Tensor:
    """Store keys and values of an attention of a reference, and return its output unchanged.

    The stored keys stand `columns` columns further to the right, and at the positions that they have without a text.
    """
    q, k, v = (x[:, :, at.layout.of_picture] for x in (at.q, at.k, at.v))
    k = positions.to_the_right(k, columns)
    statistics = (moments(flat(positions.to_the_right(q, columns))), moments(flat(k))) if matched else (None, None)
    k, repeats = positions.behind_text(k, -at.layout.text), positions.family.repeats(positions.network)
    kept[at.address] = Captured(own_copy(k[:, ::repeats]), own_copy(v[:, ::repeats]), *statistics)
    return at.own


def attend(looking: Looking, positions: Positions, grid: tuple[int, ...], at: Attended) -> Tensor:
    """The output of an attention of the picture; references act in the rows of the picture's own tokens."""
    own, of_picture = at.own, at.layout.of_picture
    q, k, v = (flat(x[:, :, of_picture]) for x in (at.q, at.k, at.v))
    seen = looking.seen(at.layer, at.address, grid, q)
    if not seen:
        return at.own
    looking.ride.reached = True
    heads = at.q.shape[1]
    seen = [for_picture(one, positions, heads, at.layout.text) for one in seen]
    picture = look(lambda: own[:, of_picture], q, k, v, heads, seen, at.attend, looking.biases, at.beside())
    return torch.cat((own[:, : of_picture.start], picture, own[:, of_picture.stop :]), dim=1)


def for_picture(one: Seen, positions: Positions, heads: int, text: int) -> Seen:
    """A stored reference with its keys behind the picture's text, and with a head of keys for every head of queries."""
    family = positions.family
    if (repeats := family.repeats(positions.network)) == 1 and not family.behind_text:
        return one
    k, v = (x.unflatten(2, (heads // repeats, -1)).transpose(1, 2) for x in (one.k, one.v))
    k = positions.behind_text(k, text)
    return replace(one, **{name: flat(x.repeat_interleave(repeats, dim=1)) for name, x in (("k", k), ("v", v))})


@dataclass(frozen=True)
class NumberedBlock:
    """Runs a block of a model, or its earlier replacement, with the number of the block in its options."""

    number: int
    before: OtherPatch

    def __call__(self, args: OwnOptions, extra: Options) -> OwnOptions:
        args = {**args, "transformer_options": {**args["transformer_options"], "block_index": self.number}}
        return extra["original_block"](args) if self.before is None else self.before(args, extra)


def with_block_numbers(family: JointModel, call: ModelCall) -> OwnOptions:
    """A call's options with the number of every block in the options of its attentions."""
    replaced = call.options.get("patches_replace", {})
    blocks = replaced.get("dit", {})
    (part,) = family.structure.parts.values()
    keys = [(part, number) for _, number in family.structure.layers(call.model.diffusion_model)]
    numbered = {key: NumberedBlock(key[1], blocks.get(key)) for key in keys}
    return {**call.options, "patches_replace": {**replaced, "dit": {**blocks, **numbered}}}


@dataclass(frozen=True, eq=False)
class JointAttentions(SelfAttentions):
    """The self-attentions of a transformer of one family.

    A reference's keys are rotated to positions on the right of the picture (AlignedGen): at equal positions, tokens of
    the picture would attend to the reference's by position and copy it.
    """

    family: JointModel

    @property
    def notes(self) -> Sequence[str]:
        return [EXPERIMENT.format(name=self.family.name)]

    def capture(self, call: ModelCall, shares: Sequence[float], matched: bool, picture: ModelCall) -> Kept:
        kept: Kept = {}
        positions = Positions(self.family, call.model.diffusion_model)
        visit = partial(keep, kept, matched, positions, columns_aside(self.family, call, picture))
        options = self._overridden(call, [shares], visit)
        with safe_graphs(call.model, picture.options, call.conds, overrides=True):
            replace(call, options=options).run()
        return kept

    def look(self, call: ModelCall, looking: Looking) -> ModelCall:
        network = call.model.diffusion_model
        frames, *of_frame = token_counts(network, call.x.shape)
        grid = (frames, *of_frame) if frames > 1 else tuple(of_frame)
        visit = partial(attend, looking, Positions(self.family, network), grid)
        return replace(call, options=self._overridden(call, looking.shares.values(), visit), overrides=True)

    def moment(self, call: ModelCall) -> int:
        """The width of the latent: with areas and windows of other widths, a reference stands at other columns."""
        return call.x.shape[-1]

    def _overridden(
        self, call: ModelCall, shares: Iterable[Sequence[float]], visit: Callable[[Attended], Tensor]
    ) -> OwnOptions:
        layers = {layer for share in shares for layer, weight in enumerate(share) if weight}
        options = call.options if self.family.numbered else with_block_numbers(self.family, call)
        return {**options, OVERRIDE: JointOverride(call, self.family, layers, visit)}


def columns_aside(family: JointModel, reference: ModelCall, picture: ModelCall) -> float:
    """The number of columns by which a reference is moved to stand on the right of the picture."""
    columns, own = (token_counts(picture.model.diffusion_model, call.x.shape)[-1] for call in (picture, reference))
    scale = picture.options.get("rope_options", {}).get("scale_x", 1.0)  # of ComfyUI's node Scale ROPE
    return scale * family.columns_aside(columns, own)

"""The attention override that weighs an edit model's own reference pictures in one model call."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import torch
from torch import Tensor

from ...ipadapter.sequences import Layout, layout_of
from ...ipadapter.weighed_attention import LOG_OF_ZERO, Group, is_number, log_bias, weighed_attention
from ..host_types import Options, OwnOptions
from .backend import OwnOverride, biased_attention
from .reference_plans import Level, ReferencePlan, ReferencePlans, plan_of
from .riders import ModelCall

NOT_FOUND = (
    "Another custom node changed what the attention of this model sees ({rows} rows and {keys} keys, where {picture} "
    "tokens of the picture and {references} of its references were expected), so the references could not be weighed "
    "there. Take that node out of this workflow."
)


class ReferenceOverride(OwnOverride):
    """Weighs the references in the attentions of one model call."""

    def __init__(
        self, call: ModelCall, levels: Sequence[Level], picture: int, sizes: Sequence[int], plans: ReferencePlans
    ) -> None:
        self.call, self.levels, self.picture, self.sizes, self.plans = call, levels, picture, sizes, plans
        self.of_call = plans.of_call((*((level.layers, level.key) for level in levels), picture, *sizes))
        masked = any(level.mask is not None for level in levels)
        of_layers = zip(*(level.layers for level in levels), strict=True)
        # The weights of all references, by layer; without layers in which the model's own attention has them.
        self.weights = {
            layer: weights for layer, weights in enumerate(of_layers) if masked or any(w != 1 for w in weights)
        }
        super().__init__(call, self.weights)

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
        """The attention of a block with its references weighed."""
        key = (self.weights[layer], k.shape, q.shape, q.device, q.dtype)
        plan = self.of_call.get(key) or self._planned(key, layer, q, k, more)
        if plan is None:
            return own(q, k, v, heads, mask, **more)
        outs = weighed_attention(
            q, k, v, heads, plan.layout, plan.groups, plan.biases,
            plain=partial(own, **more),
            biased=biased_attention(more),
            mask=None if mask is None else of_four_axes(mask, q),
        )  # fmt: skip
        return torch.cat(outs, dim=2 if more.get("skip_output_reshape") else 1)

    def _planned(self, key: Hashable, layer: int, q: Tensor, k: Tensor, more: Options) -> ReferencePlan | None:
        """The plan of an attention, stored for others with this key; None for one with other tokens."""
        self.plans.asked = True
        layout = layout_of(k.shape[2], q.shape[2], self.picture, self.sizes) if more.get("skip_reshape") else None
        if layout is None:
            expected = {"picture": self.picture, "references": sum(self.sizes)}
            self.call.say([NOT_FOUND.format(rows=q.shape[-2], keys=k.shape[-2], **expected)])
            return None
        plan = plan_of(layout, q.shape[2], layer, self.levels, q)
        self.plans.store(self.of_call, key, plan)
        return plan

    def picture_bias(self, layer: int, layout: Layout, like: Tensor) -> Tensor | None:
        """The logarithms of the weights of all keys in rows of the picture, (rows or 1, 1, picture or 1, keys); None if
        all are 1.
        """
        if layer not in self.weights:
            return None
        heads = [level.heard(layer, layout.text).head for level in self.levels]
        weights = [head[:, layout.text :] if isinstance(head, Tensor) and head.shape[1] > 1 else head for head in heads]
        zero = like.new_zeros(1, 1, 1)  # a key of weight 0 stays among the keys, with LOG_OF_ZERO
        present = tuple(zero if is_number(weight, 0.0) else weight for weight in weights)
        return log_bias(layout, Group(slice(layout.text, layout.head), present), like)


def of_four_axes(mask: Tensor, like: Tensor) -> Tensor:
    """A model's own attention mask (rows, keys), (b, rows, keys) or (b, heads, rows, keys) as (b or 1, heads or 1,
    rows, keys), to be added to the logits; a mask of booleans becomes 0 and LOG_OF_ZERO.
    """
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, LOG_OF_ZERO)
    return mask[(None,) * (4 - mask.ndim)] if mask.ndim != 3 else mask.unsqueeze(1)

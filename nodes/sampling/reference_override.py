"""The attention override that weighs an edit model's own reference pictures in one model call."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, NamedTuple

import comfy.ldm.modules.attention as host_attention
import torch
from torch import Tensor

from ...ipadapter.sequences import Layout, layer_number, layout_of
from ...ipadapter.weighed_attention import LOG_OF_ZERO, Group, Heard, groups_of, is_number, log_bias, weighed_attention
from ...masks.grid import mask_around
from .backend import OVERRIDE
from .patches import refuse_recording
from .riders import ModelCall

NOT_FOUND = (
    "Another custom node changed what the attention of this model sees ({rows} rows and {keys} keys, where {picture} "
    "tokens of the picture and {references} of its references were expected), so the references could not be weighed "
    "there. Take that node out of this workflow."
)


class Level(NamedTuple):
    """The level of one reference in a call: a weight for every layer, and a mask on the picture's tokens.

    The mask is (rows or 1, tokens or 1, 1), None if it is 1 everywhere; masks with equal keys are equal.
    """

    layers: tuple[float, ...]
    mask: Tensor | None = None
    key: Hashable = None

    @property
    def silent(self) -> bool:
        return not any(self.layers) or (self.mask is not None and not self.mask.any())

    @property
    def natural(self) -> bool:
        return self.mask is None and all(weight == 1 for weight in self.layers)

    def heard(self, layer: int, text: int) -> Heard:
        """The weight of the reference for every row in a layer whose sequence begins with `text` tokens of text."""
        weight = self.layers[layer]
        if self.mask is None or not weight:
            return Heard(weight, weight)
        head = mask_around(self.mask, text, 0) if self.mask.shape[1] > 1 else self.mask
        return Heard(weight * head, weight * self.mask.mean(dim=1, keepdim=True))


class Biases:
    """The bias of the last attention for every group of its rows, shared by layers of equal weights. At 1024² pixels a
    bias takes 80 MB, so only the last is held.
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[Hashable, Tensor]] = {}

    def get(self, group: Hashable, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        known, bias = self._last.get(group, (None, None))
        if bias is None or known != key:
            bias = make()
            self._last[group] = key, bias
        return bias

    def clear(self) -> None:
        self._last.clear()


class Override:
    """Weighs the references in the attentions of one model call, and calls the earlier override, if there is one."""

    def __init__(
        self, call: ModelCall, levels: Sequence[Level], picture: int, sizes: Sequence[int], biases: Biases
    ) -> None:
        self.network, self.say, self.before = call.model.diffusion_model, call.say, call.options.get(OVERRIDE)
        self.levels, self.picture, self.sizes, self.biases = levels, picture, sizes, biases

    def __call__(
        self,
        function: Callable[..., Tensor],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """The attention of a block, (b, tokens, channels), with its references weighed."""
        refuse_recording()
        own = function if self.before is None else partial(self.before, function)
        layer = layer_number(self.network, more.get("transformer_options") or {})
        if layer is None or all(level.mask is None and level.layers[layer] == 1 for level in self.levels):
            return own(q, k, v, heads, mask, **more)
        layout = layout_of(k.shape[2], q.shape[2], self.picture, self.sizes) if more.get("skip_reshape") else None
        if layout is None:
            expected = {"picture": self.picture, "references": sum(self.sizes)}
            self.say([NOT_FOUND.format(rows=q.shape[-2], keys=k.shape[-2], **expected)])
            return own(q, k, v, heads, mask, **more)
        more = {**more, "_inside_attn_wrapper": True}  # so that the biased attention does not call this override again
        outs = weighed_attention(
            q, k, v, layout,
            groups_of(layout, q.shape[2], [level.heard(layer, layout.text) for level in self.levels]),
            plain=lambda q, k, v, bias: own(q, k, v, heads, bias, **more),
            biased=lambda q, k, v, bias: host_attention.attention_pytorch(q, k, v, heads, bias, **more),
            mask=None if mask is None else of_four_axes(mask, q),
            bias_of=partial(self._bias, layer),
        )  # fmt: skip
        return torch.cat(outs, dim=2 if more.get("skip_output_reshape") else 1)

    def picture_bias(self, layer: int, layout: Layout, like: Tensor) -> Tensor | None:
        """The logarithms of the weights of all keys in rows of the picture, (rows or 1, 1, picture or 1, keys); None if
        all are 1.
        """
        if all(level.mask is None and level.layers[layer] == 1 for level in self.levels):
            return None
        heads = [level.heard(layer, layout.text).head for level in self.levels]
        weights = [head[:, layout.text :] if isinstance(head, Tensor) and head.shape[1] > 1 else head for head in heads]
        zero = torch.zeros(1, 1, 1)  # a key of weight 0 stays among the keys, with LOG_OF_ZERO
        present = tuple(zero if is_number(weight, 0.0) else weight for weight in weights)
        return log_bias(layout, Group(slice(layout.text, layout.head), present), like)

    def _bias(self, layer: int, layout: Layout, group: Group, like: Tensor) -> Tensor:
        weights = tuple((level.layers[layer], level.key) for level in self.levels)
        key = (weights, layout, like.device, like.dtype)
        return self.biases.get(group.rows.start, key, lambda: log_bias(layout, group, like))


def of_four_axes(mask: Tensor, like: Tensor) -> Tensor:
    """A model's own attention mask (rows, keys), (b, rows, keys) or (b, heads, rows, keys) as (b or 1, heads or 1,
    rows, keys), to be added to the logits; a mask of booleans becomes 0 and LOG_OF_ZERO.
    """
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=like.dtype).masked_fill(~mask, LOG_OF_ZERO)
    return mask[(None,) * (4 - mask.ndim)] if mask.ndim != 3 else mask.unsqueeze(1)

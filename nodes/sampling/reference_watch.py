"""How much attention every part of the picture gives to an edit model's own references, for attention maps."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...ipadapter.sequences import layer_number, layout_of, token_counts
from .reference_override import ReferenceOverride
from .riders import ModelCall


class WatchedOverride(ReferenceOverride):
    """Weighs the references, and shows the call's observer the part of the attention that each of them gets.

    The same attention is computed once more with a mark in place of the values: 1 for keys of a reference and 0 for all
    others gives the reference's part of the attention, whatever the kernel, the bias and the masks.
    """

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
        out = super().__call__(function, q, k, v, heads, mask, **more)
        layer = layer_number(self.network, more.get("transformer_options") or {})
        layout = layout_of(k.shape[2], q.shape[2], self.picture, self.sizes) if more.get("skip_reshape") else None
        if layer is None or layout is None:
            return out
        marks = torch.zeros_like(v)  # (b, heads, tokens, width): the first channels of every head are the references
        for number, span in enumerate(layout.references):
            marks[:, :, span, number] = 1
        shares = super().__call__(function, q, k, marks, heads, mask, **more)
        shares = shares.transpose(1, 2) if more.get("skip_output_reshape") else shares.unflatten(2, (heads, -1))
        show(self.call, layer, shares[:, layout.of_picture, :, : len(self.sizes)].mean(2))
        return out


def show(call: ModelCall, layer: int, shares: Tensor) -> None:
    """Show the observer of a call the parts of the attention in a layer, (rows, tokens, references that are heard)."""
    frames, *grid = token_counts(call.model.diffusion_model, call.x.shape)
    percent = call.plan.position.percent(float(call.options["sigmas"][0]))
    of_all = pad(shares, (0, len(call.conds["ref_latents"]) - shares.shape[-1])).unflatten(1, (frames, -1)).mean(1)
    assert call.plan.observer is not None
    call.plan.observer.follow(percent, layer, (grid[0], grid[1]), call.plan.call.rows, of_all)


def show_silence(call: ModelCall, layers: int) -> None:
    """Show the observer of a call that no reference is heard in it."""
    for layer in range(layers):
        show(
            call, layer, call.x.new_zeros(len(call.x), prod(token_counts(call.model.diffusion_model, call.x.shape)), 0)
        )

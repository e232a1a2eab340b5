"""Tiny edit models sampled in this process by ComfyUI's guider."""

from collections.abc import Callable, Sequence
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from test_nodes_pack.edits import EVERY_MODEL, METHOD, OTHER, EditModel
from test_nodes_pack.standins import seeded
from test_nodes_pack.transformers import FLUX, SIZE, Transformer, model_of, text_of

__all__ = ["FLUX", "METHOD", "MODELS", "OTHER", "SIZE", "EditModel", "attentions", "model_of", "sample"]

MODELS = {title: kind for title, kind in EVERY_MODEL.items() if kind.known}


def sample(
    model: ModelPatcher,
    kind: Transformer,
    references: Sequence[Tensor],
    cfg: float = 1.0,
    steps: int = 2,
    batch: int = 1,
    negative: Sequence[Tensor] | None = None,
) -> Tensor:
    """The latents that ComfyUI's guider samples by euler; the negative text has the same references unless given."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(text_of(kind, 10, references), text_of(kind, 20, references if negative is None else negative))
    guider.set_cfg(cfg)
    noise = torch.cat([seeded((1, *kind.channels, *SIZE), 5 + row) for row in range(batch)])
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    with torch.inference_mode():
        return guider.sample(noise, torch.zeros_like(noise), comfy.samplers.ksampler("euler"), sigmas, seed=5)


def attentions(model: ModelPatcher, see: Callable[[Tensor, Tensor, Any], None]) -> ModelPatcher:
    """A clone with another pack's override, which sees the queries, keys and mask of every attention that it gets."""
    clone = model.clone()

    def override(
        function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **more: Any
    ) -> Tensor:
        see(q, k, mask)
        return function(q, k, v, heads, mask, **more)

    clone.model_options["transformer_options"]["optimized_attention_override"] = override
    return clone

"""Let a tiny model follow references, and sample it in this process by ComfyUI's own guider and sampler."""

from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from pack.nodes.applying.apply import Request, Strength, apply_adapter
from pack.nodes.applying.encoding import Reference
from test_nodes_pack.standins import TOKENS, seeded


def following(model: Any, adapter: Any, reference: Reference, clip_vision: Any = None, **strength: Any) -> Any:
    """A clone of a model that follows a reference, so strongly."""
    return apply_adapter(model, adapter, [Request(reference, Strength(**strength))], clip_vision).model


def conditioning(seed: int, **more: Any) -> list[list[Any]]:
    """A CONDITIONING of SD1.5's width; `more` goes into its options."""
    return [[seeded((1, TOKENS, 768), seed), more]]


def sample(
    model: Any,
    shape: tuple[int, ...] = (1, 4, 8, 8),
    steps: int = 1,
    guider: Any = None,
    positive: Any = None,
    start: float | None = None,
) -> Tensor:
    """The latent of that shape after some steps of euler, with a CFG of 4 unless a guider says otherwise.

    With a start, 0..1 of sampling, a single step leads from there to the end.
    """
    if guider is None:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive or conditioning(10), conditioning(20))
        guider.set_cfg(4.0)
    sampling = model.get_model_object("model_sampling")
    if start is None:
        sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", steps)
    else:
        sigmas = torch.tensor([sampling.percent_to_sigma(start), 0.0])
    with torch.inference_mode():
        return guider.sample(seeded(shape, 5), torch.zeros(shape), comfy.samplers.ksampler("euler"), sigmas, seed=5)

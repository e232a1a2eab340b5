"""The published predictions of identity adapters, written out: a UNet's own layers, with attention by a formula."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.samplers
import torch
from comfy.ldm.modules.attention import CrossAttention, SpatialTransformer
from torch import Tensor
from torch.nn.functional import interpolate

Formula = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]  # q, k and v of the text, heads, number of the site
Control = Mapping[str, Sequence[Tensor]]
GRID: list[tuple[int, int]] = []  # of the latent that is being predicted


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Written out, so that no backend has to be trusted."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return ((q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v).transpose(1, 2).flatten(2)


def text_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, site: int) -> Tensor:
    return attention(q, k, v, heads)


def face_attention(tokens: Tensor, layers: Mapping[str, Tensor], weight: float, mask: Tensor | None = None) -> Formula:
    """Attention to the text plus weight times attention to a face's tokens (1, t, context); equation 5 of
    arXiv:2308.06721. `layers` are a checkpoint's ip_adapter group.
    """

    def formula(q: Tensor, k: Tensor, v: Tensor, heads: int, site: int) -> Tensor:
        own_k, own_v = (tokens @ layers[f"{2 * site + 1}.to_{part}_ip.weight"].float().T for part in "kv")
        added = attention(q, own_k.expand(len(q), -1, -1), own_v.expand(len(q), -1, -1), heads)
        return attention(q, k, v, heads) + weight * (added if mask is None else added * on_tokens(mask, q.shape[1]))

    return formula


def on_tokens(mask: Tensor, tokens: int) -> Tensor:
    """A mask (1, 1, h, w) on the level of the UNet that has so many tokens, (1, tokens, 1)."""
    rows, columns = GRID[-1]
    while rows * columns > tokens:
        rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
    return interpolate(mask, (rows, columns), mode="bilinear").flatten(2).transpose(1, 2)


@contextmanager
def plain_attention(unet: Any, formula: Formula) -> Iterator[None]:
    """A formula in place of every cross-attention of a UNet, which is numbered as checkpoints number it."""
    parts = (*unet.input_blocks, *unet.output_blocks, unet.middle_block)
    transformers = [module for part in parts for module in part.modules() if isinstance(module, SpatialTransformer)]
    numbers = {id(inner.attn2): n for n, inner in enumerate(b for t in transformers for b in t.transformer_blocks)}
    before = CrossAttention.forward

    def forward(self: Any, x: Tensor, context: Any = None, *args: Any, **more: Any) -> Tensor:
        if id(self) not in numbers:
            return before(self, x, context, *args, **more)
        return self.to_out(formula(self.to_q(x), self.to_k(context), self.to_v(context), self.heads, numbers[id(self)]))

    CrossAttention.forward = forward
    try:
        yield
    finally:
        CrossAttention.forward = before


def predicted(
    model: Any, x: Tensor, sigma: float, text: Tensor, y: Tensor, formula: Formula, control: Control | None = None
) -> Tensor:
    """A UNet's prediction of the noise in one branch."""
    GRID.append((x.shape[-2], x.shape[-1]))
    with plain_attention(model.diffusion_model, formula):
        given = {"context": text.expand(len(x), -1, -1), "y": y.expand(len(x), -1), "control": control}
        return model.diffusion_model(scaled(x, sigma), timestep(model, x, sigma), **given)


def controlled(
    model: Any, net: Any, x: Tensor, sigma: float, hint: Tensor, context: Tensor, y: Tensor, strength: float,
    mask: Tensor | None = None,
) -> dict[str, list[Tensor]]:  # fmt: skip
    """What a ControlNet adds: its network's outputs times its strength, and times a mask (1, 1, h, w)."""
    given = {
        "context": context.expand(len(x), -1, -1),
        "y": y.expand(len(x), -1),
        "timesteps": timestep(model, x, sigma),
    }
    out = net.control_model(x=scaled(x, sigma), hint=hint.movedim(-1, 1).expand(len(x), -1, -1, -1), **given)

    def weighted(value: Tensor) -> Tensor:
        return strength * (value if mask is None else value * interpolate(mask, value.shape[-2:], mode="bilinear"))

    return {part: [weighted(value) for value in values] for part, values in out.items()}


def both(one: Control, other: Control) -> Control:
    return {part: [a + b for a, b in zip(one[part], other[part], strict=True)] for part in one}


def timestep(model: Any, x: Tensor, sigma: float) -> Tensor:
    return model.model_sampling.timestep(torch.full((len(x),), sigma)).float()


def scaled(x: Tensor, sigma: float) -> Tensor:
    return x / math.sqrt(sigma**2 + 1)


def denoised(model: Any, conds: Sequence[Any], sigma: float, noise: Tensor, cfg: float) -> tuple[Tensor, Tensor]:
    """The input and the output of one model call of ComfyUI's own: conditionings, batches, ControlNets, guidance."""
    seen: dict[str, Tensor] = {}

    def once(of_model: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, **_: Any) -> Tensor:
        seen["x"], seen["out"] = x.clone(), of_model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)
        return x

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(cfg)
    sampler = comfy.samplers.KSAMPLER(once)
    with torch.inference_mode():
        guider.sample(noise, torch.zeros_like(noise), sampler, torch.tensor([sigma, 0.0]), disable_pbar=True, seed=1)
    return seen["x"], seen["out"]

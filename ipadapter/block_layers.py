"""Keys and values of image tokens for one block: what each kind of adapter holds for it, and how it computes them."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .transformer_formats import Mechanism

KEY_EPS = 1e-5  # InstantX' Flux adapter divides keys by their root mean square, without a weight of its own
JOINT_EPS = 1e-6  # of every norm in SD3.5's joint attention, the model's and the adapter's


class HeadNorm(nn.Module):
    """Divide every head (..., head width) by its root mean square and scale it; in float32, as published."""

    def __init__(self, width: int, **where: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, **where), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return (unit_heads(x.float(), JOINT_EPS) * self.weight.to(x.device, torch.float32)).to(x)


def unit_heads(x: Tensor, eps: float) -> Tensor:
    """Vectors (..., width) divided by their root mean square, computed in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x)


def _pair(context: int, channels: int, operations: Any, bias: bool = False, **where: Any) -> dict[str, nn.Module]:
    return {part: operations.Linear(context, channels, bias=bias, **where) for part in ("to_k_ip", "to_v_ip")}


def _with_time(
    context: int, channels: int, operations: Any, head: int, time: int, **where: Any
) -> dict[str, nn.Module]:
    norms: dict[str, nn.Module] = {name: HeadNorm(head, **where) for name in ("norm_q", "norm_k", "norm_ip_k")}
    modulation = nn.ModuleDict({"linear": operations.Linear(time, 2 * context, **where)})
    return {"norm_ip": modulation} | _pair(context, channels, operations, **where) | norms


def block_layer(
    mechanism: Mechanism, context: int, channels: int, head: int, time: int, operations: Any, **where: Any
) -> nn.ModuleDict:
    """The modules of one block, named as published. `head` and `time` are the widths of a head and of the time's
    embedding, which only SD3.5's adapter has.
    """
    if mechanism == "joint attention":
        return nn.ModuleDict(_with_time(context, channels, operations, head, time, **where))
    return nn.ModuleDict(_pair(context, channels, operations, bias=mechanism == "block output", **where))


def _plain(layer: nn.ModuleDict, tokens: Tensor, heads: int, time: Tensor | None) -> tuple[Tensor, Tensor]:
    return layer["to_k_ip"](tokens), layer["to_v_ip"](tokens)


def _unit_keys(layer: nn.ModuleDict, tokens: Tensor, heads: int, time: Tensor | None) -> tuple[Tensor, Tensor]:
    """Only keys are normed: the authors' line for values is commented out."""
    k, v = _plain(layer, tokens, heads, time)
    return unit_heads(k.unflatten(-1, (heads, -1)), KEY_EPS).flatten(-2), v


def _at_time(layer: nn.ModuleDict, tokens: Tensor, heads: int, time: Tensor | None) -> tuple[Tensor, Tensor]:
    if time is None:
        raise ValueError("keys and values of SD3.5's adapter depend on the timestep, and none was given")
    linear = cast(nn.ModuleDict, layer["norm_ip"])["linear"]
    shift, scale = linear(F.silu(time)).unsqueeze(1).chunk(2, dim=-1)
    normed = F.layer_norm(tokens.float(), tokens.shape[-1:], eps=JOINT_EPS).to(tokens) * (1 + scale) + shift
    k = layer["norm_ip_k"](layer["to_k_ip"](normed).unflatten(-1, (heads, -1))).flatten(-2)
    return k, layer["to_v_ip"](normed)


BLOCK_KEYS_VALUES: dict[Mechanism, Callable[[nn.ModuleDict, Tensor, int, Tensor | None], tuple[Tensor, Tensor]]] = {
    "cross-attention": _plain,
    "block output": _plain,
    "attention output": _unit_keys,
    "joint attention": _at_time,
}

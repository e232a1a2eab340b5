"""Adapters for diffusion transformers with seeded random weights, in the layouts in which they were published.

Sizes are small by default; the published ones are in `PUBLISHED`, for device="meta".
"""

from typing import Any

import torch
from torch import Tensor

from synthetic import Maker, Nested

PUBLISHED: dict[str, dict[str, Any]] = {
    "ip_adapter.safetensors": dict(kind="XLabs Flux", blocks=19, channels=3072, context=4096, embed=768, tokens=4),
    "flux-ip-adapter-v2.safetensors": dict(
        kind="XLabs Flux v2", blocks=19, channels=3072, context=4096, embed=768, tokens=16
    ),
    "flux.1-dev-ip-adapter.bin": dict(
        kind="InstantX Flux", blocks=57, channels=3072, context=4096, embed=1152, tokens=128, hidden=2304
    ),
    "sd3.5-large-ip-adapter.bin": dict(
        kind="InstantX SD3.5", blocks=38, channels=2432, context=2432, embed=1152, tokens=64, dim=1280, heads=20
    ),
}


def xlabs(make: Maker, blocks: int, channels: int, context: int, embed: int, tokens: int = 4) -> dict[str, Tensor]:
    """Flat, as XLabs names things."""
    flat = make.linear("ip_adapter_proj_model.proj", embed, tokens * context)
    flat |= make.norm("ip_adapter_proj_model.norm", context)
    for i in range(blocks):
        for part in "kv":
            name = f"double_blocks.{i}.processor.ip_adapter_double_stream_{part}_proj"
            flat |= make.linear(name, context, channels)
    return flat


def instantx_flux(
    make: Maker, blocks: int, channels: int, context: int, embed: int, tokens: int = 8, hidden: int = 40
) -> Nested:
    projection = make.linear("proj.0", embed, hidden) | make.linear("proj.2", hidden, tokens * context)
    layers: dict[str, Tensor] = {}
    for i in range(blocks):
        for part in "kv":
            layers |= make.linear(f"{i}.to_{part}_ip", context, channels, bias=False)
    return {"image_proj": projection | make.norm("norm", context), "ip_adapter": layers}


def instantx_sd35(
    make: Maker,
    blocks: int,
    channels: int,
    context: int,
    embed: int,
    tokens: int = 6,
    dim: int = 128,
    heads: int = 2,
    depth: int = 4,
    head: int = 64,
    sinusoids: int = 320,
) -> Nested:
    projection = {"latents": make(1, tokens, dim)} | make.resampler("", embed, dim, context, heads, depth)
    projection |= make.linear("time_embedding.linear_1", sinusoids, dim)
    projection |= make.linear("time_embedding.linear_2", dim, dim)
    for i in range(depth):
        projection |= make.linear(f"layers.{i}.2.1", dim, 4 * dim)
    layers: dict[str, Tensor] = {}
    for i in range(blocks):
        layers |= make.linear(f"{i}.norm_ip.linear", dim, 2 * context)
        for part in "kv":
            layers |= make.linear(f"{i}.to_{part}_ip", context, channels, bias=False)
        layers |= {f"{i}.{name}.weight": make(head) * 3 + 1 for name in ("norm_q", "norm_k", "norm_ip_k")}
    return {"image_proj": projection, "ip_adapter": layers}


KINDS: dict[str, Any] = {
    "XLabs Flux": xlabs,
    "XLabs Flux v2": xlabs,
    "InstantX Flux": instantx_flux,
    "InstantX SD3.5": instantx_sd35,
}
SMALL: dict[str, dict[str, Any]] = {  # for models of 2 double and 2 single, or 2 joint, blocks
    "XLabs Flux": dict(blocks=2, channels=64, context=24, embed=20),
    "XLabs Flux v2": dict(blocks=2, channels=64, context=24, embed=20, tokens=16),
    "InstantX Flux": dict(blocks=4, channels=64, context=24, embed=20),
    "InstantX SD3.5": dict(blocks=2, channels=128, context=128, embed=20),
}


def adapter(kind: str, *, seed: int = 0, device: str = "cpu", **sizes: Any) -> Any:
    """The published layout of one kind, small where no sizes are given."""
    return KINDS[kind](Maker(seed, device, torch.float32), **(SMALL[kind] | sizes))


def in_diffusers_names(nested: Nested) -> dict[str, Tensor]:
    """InstantX' SD3.5 adapter as published for diffusers: one flat file, the resampler's parts renamed."""
    parts = {
        "0.norm1": "ln0",
        "0.norm2": "ln1",
        "0.to_q": "attn.to_q",
        "0.to_kv": "attn.to_kv",
        "0.to_out": "attn.to_out.0",
        "1.0": "adaln_norm",
        "1.1": "ff.net.0.proj",
        "1.3": "ff.net.2",
        "2.1": "adaln_proj",
    }
    flat = {f"ip_adapter.{key}": tensor for key, tensor in nested["ip_adapter"].items()}
    for key, tensor in nested["image_proj"].items():
        head, _, last = key.rpartition(".")
        if head.startswith("layers."):
            prefix, rest = ".".join(head.split(".")[:2]), ".".join(head.split(".")[2:])
            head = f"{prefix}.{parts[rest]}"
        flat[f"image_proj.{head}.{last}" if head else f"image_proj.{last}"] = tensor
    return flat

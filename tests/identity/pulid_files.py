"""PuLID's files with seeded random weights, in the layouts in which they were published.

Sizes are small by default; `PUBLISHED` holds the published ones, for device="meta".
"""

from typing import Any

import torch
from torch import Tensor

from synthetic import Maker, sdxl_channels

ID, FACE, STATE = 544, 512, 64  # widths of the id, of the face vector in it, of a hidden state
CONTEXT = {"sdxl": 2048, "flux": 96}
PUBLISHED: dict[str, dict[str, Any]] = {
    "encoder": {"id_dim": 1280, "state": 1024, "hidden": 1024, "out": 2048},
    "former": {"id_dim": 1280, "state": 1024, "hidden": 1024, "dim": 1024, "out": 2048, "queries": 32, "heads": 16},
    "flux": {"blocks": 20, "context": 2048, "channels": 2048, "model": 3072},
}


def perceptron(make: Maker, name: str, into: int, hidden: int, out: int) -> dict[str, Tensor]:
    tensors = make.linear(f"{name}.0", into, hidden) | make.norm(f"{name}.1", hidden)
    tensors |= make.linear(f"{name}.3", hidden, hidden) | make.norm(f"{name}.4", hidden)
    return tensors | make.linear(f"{name}.6", hidden, out)


def id_encoder(
    make: Maker, id_dim: int = ID, state: int = STATE, hidden: int = 48, out: int = CONTEXT["sdxl"]
) -> dict[str, Tensor]:
    """The encoder of v1, with published names and no prefix."""
    tensors = perceptron(make, "body", id_dim, hidden, 5 * out)
    for i in range(5):
        tensors |= perceptron(make, f"mapping_{i}", state, hidden, out)
        tensors |= perceptron(make, f"mapping_patch_{i}", state, hidden, out)
    return tensors


def id_former(
    make: Maker, id_dim: int = ID, state: int = STATE, hidden: int = 48, dim: int = 80, out: int = CONTEXT["sdxl"],
    queries: int = 32, heads: int = 2, depth: int = 10,
) -> dict[str, Tensor]:  # fmt: skip
    """The encoder of v1.1 and of the files for Flux, with published names and no prefix."""
    tensors = {"latents": make(1, queries, dim), "proj_out": make(dim, out)}
    tensors |= perceptron(make, "id_embedding_mapping", id_dim, hidden, 5 * dim)
    for i in range(5):
        tensors |= perceptron(make, f"mapping_{i}", state, hidden, dim)
    for i in range(depth):
        attention, feed = f"layers.{i}.0", f"layers.{i}.1"
        tensors |= make.norm(f"{attention}.norm1", dim) | make.norm(f"{attention}.norm2", dim)
        tensors |= make.linear(f"{attention}.to_q", dim, heads * 64, bias=False)
        tensors |= make.linear(f"{attention}.to_kv", dim, heads * 128, bias=False)
        tensors |= make.linear(f"{attention}.to_out", heads * 64, dim, bias=False)
        tensors |= make.norm(f"{feed}.0", dim) | make.linear(f"{feed}.1", dim, 4 * dim, bias=False)
        tensors |= make.linear(f"{feed}.3", 4 * dim, dim, bias=False)
    return tensors


def flux_layers(
    make: Maker, blocks: int = 2, context: int = CONTEXT["flux"], channels: int = 256, model: int = 256
) -> dict[str, Tensor]:
    """The attentions of a file for Flux, with published names and no prefix."""
    tensors: dict[str, Tensor] = {}
    for i in range(blocks):
        tensors |= make.norm(f"{i}.norm1", context) | make.norm(f"{i}.norm2", model)
        tensors |= make.linear(f"{i}.to_q", model, channels, bias=False)
        tensors |= make.linear(f"{i}.to_kv", context, 2 * channels, bias=False)
        tensors |= make.linear(f"{i}.to_out", channels, model, bias=False)
    return tensors


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _sdxl(
    make: Maker, encoder: dict[str, Tensor], channels: list[int], context: int, converted: bool
) -> dict[str, Tensor]:
    """A file for SDXL: with its authors' names, or converted to an IP-Adapter's."""
    group, layers, part = ("image_proj", "ip_adapter", "to_{}_ip") if converted else (
        "id_adapter", "id_adapter_attn_layers", "id_to_{}"
    )  # fmt: skip
    tensors = _prefixed(f"{group}.", encoder)
    for number, width in zip(range(1, 2 * len(channels), 2), channels, strict=True):
        for letter in "kv":
            tensors |= make.linear(f"{layers}.{number}.{part.format(letter)}", context, width, bias=False)
    return tensors


def pulid(
    name: str, seed: int = 0, device: str = "cpu", dtype: torch.dtype = torch.float32, **sizes: Any
) -> dict[str, Tensor]:
    """The tensors of one of NAMES; "published" as a size gives them the published ones."""
    make, full = Maker(seed, device, dtype), sizes.pop("published", False)
    channels, context = sizes.pop("channels", None) or sdxl_channels(), sizes.pop("context", CONTEXT["sdxl"])
    if name.startswith("pulid_flux"):
        encoder = id_former(make, **(PUBLISHED["former"] if full else {"out": CONTEXT["flux"]}))
        layers = flux_layers(make, **(PUBLISHED["flux"] if full else sizes))
        return _prefixed("pulid_encoder.", encoder) | _prefixed("pulid_ca.", layers)
    if "v1.1" in name:
        encoder = id_former(make, **(PUBLISHED["former"] if full else {"out": context}))
    else:
        encoder = id_encoder(make, **(PUBLISHED["encoder"] if full else {"out": context}))
    return _sdxl(make, encoder, channels, context, converted=name.startswith("ip-adapter"))


# Variant, family, tensors of a picture, millions of numbers (published bytes / width of their type).
NAMES: dict[str, tuple[str, str, int, float]] = {
    "pulid_v1.bin": ("PuLID", "sdxl", 10, 395.67),
    "ip-adapter_pulid_sdxl_fp16.safetensors": ("PuLID", "sdxl", 10, 395.67),
    "pulid_v1.1.safetensors": ("PuLID v1.1", "sdxl", 32, 492.2),
    "pulid_flux_v0.9.0.safetensors": ("PuLID Flux", "flux", 32, 571.0),
    "pulid_flux_v0.9.1.safetensors": ("PuLID Flux", "flux", 32, 571.0),
}

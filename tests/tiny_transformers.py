"""Flux and SD3.5 models with seeded random weights, as files that ComfyUI's own loaders tell by their tensors.

Narrow and shallow, but with the published widths of text and heads: two heads, two blocks of each kind.
"""

from typing import Any

import torch
from torch import Tensor

from synthetic import Maker

CHANNELS = {"flux": 256, "sd3.5": 128}
HEAD = {"flux": 128, "sd3.5": 64}
TEXT, POOLED = 4096, {"flux": 768, "sd3.5": 1280}  # SD3.5's is narrower than published, as the tests' texts are
LATENT, PATCHES = 16, 4  # channels of a latent, latent pixels of a token
SINUSOIDS = 256  # of a timestep
PLACES = 16  # rows and columns of SD3.5's table of positions
EMBED = {"pooled": 32, "hidden": 64}  # widths of what the tests' vision encoder gives
ADAPTERS: dict[str, dict[str, Any]] = {  # kinds and sizes of adapters for these models
    "XLabs Flux": dict(blocks=2, channels=256, context=TEXT, embed=EMBED["pooled"]),
    "XLabs Flux v2": dict(blocks=2, channels=256, context=TEXT, embed=EMBED["pooled"], tokens=16),
    "InstantX Flux": dict(blocks=4, channels=256, context=TEXT, embed=EMBED["pooled"]),
    "InstantX SD3.5": dict(blocks=2, channels=128, context=128, embed=EMBED["hidden"]),
}


def _perceptron(make: Maker, name: str, into: int, out: int, first: str, second: str) -> dict[str, Tensor]:
    return make.linear(f"{name}.{first}", into, out) | make.linear(f"{name}.{second}", out, out)


def _feed(make: Maker, name: str, dim: int, first: str, second: str) -> dict[str, Tensor]:
    return make.linear(f"{name}.{first}", dim, 4 * dim) | make.linear(f"{name}.{second}", 4 * dim, dim)


def _scales(make: Maker, *names: str, head: int) -> dict[str, Tensor]:
    return {name: 1 + 3 * make(head) for name in names}


def flux(seed: int = 0, double: int = 2, single: int = 2, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The tensors of a Flux.1-dev, as published."""
    make, dim, head = Maker(seed, "cpu", dtype), CHANNELS["flux"], HEAD["flux"]
    state = make.linear("img_in", LATENT * PATCHES, dim) | make.linear("txt_in", TEXT, dim)
    for name, into in {"time_in": SINUSOIDS, "guidance_in": SINUSOIDS, "vector_in": POOLED["flux"]}.items():
        state |= _perceptron(make, name, into, dim, "in_layer", "out_layer")
    for i in range(double):
        for stream in ("img", "txt"):
            block = f"double_blocks.{i}.{stream}"
            state |= make.linear(f"{block}_mod.lin", dim, 6 * dim)
            state |= make.linear(f"{block}_attn.qkv", dim, 3 * dim) | make.linear(f"{block}_attn.proj", dim, dim)
            norms = (f"{block}_attn.norm.{name}_norm.scale" for name in ("query", "key"))
            state |= _scales(make, *norms, head=head) | _feed(make, f"{block}_mlp", dim, "0", "2")
    for i in range(single):
        block = f"single_blocks.{i}"
        state |= make.linear(f"{block}.modulation.lin", dim, 3 * dim)
        state |= make.linear(f"{block}.linear1", dim, 7 * dim) | make.linear(f"{block}.linear2", 5 * dim, dim)
        state |= _scales(make, *(f"{block}.norm.{name}_norm.scale" for name in ("query", "key")), head=head)
    state |= make.linear("final_layer.linear", dim, LATENT * PATCHES)
    return state | make.linear("final_layer.adaLN_modulation.1", dim, 2 * dim)


def sd35(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The tensors of an SD3.5 Large, as published; as many blocks as heads, which ComfyUI tells one by the other."""
    make, dim, head = Maker(seed, "cpu", dtype), CHANNELS["sd3.5"], HEAD["sd3.5"]
    state = {"pos_embed": make(1, PLACES**2, dim) * 4, "x_embedder.proj.weight": make(dim, LATENT, 2, 2)}
    state |= {"x_embedder.proj.bias": make(dim)} | make.linear("context_embedder", TEXT, dim)
    for name, into in {"t_embedder": SINUSOIDS, "y_embedder": POOLED["sd3.5"]}.items():
        state |= _perceptron(make, name, into, dim, "mlp.0", "mlp.2")
    blocks = dim // head
    for i in range(blocks):
        for stream in ("x_block", "context_block"):
            block, last = f"joint_blocks.{i}.{stream}", stream == "context_block" and i == blocks - 1
            state |= make.linear(f"{block}.adaLN_modulation.1", dim, (2 if last else 6) * dim)
            state |= make.linear(f"{block}.attn.qkv", dim, 3 * dim)
            state |= _scales(make, f"{block}.attn.ln_q.weight", f"{block}.attn.ln_k.weight", head=head)
            if not last:
                state |= make.linear(f"{block}.attn.proj", dim, dim) | _feed(make, f"{block}.mlp", dim, "fc1", "fc2")
    state |= make.linear("final_layer.linear", dim, LATENT * PATCHES)
    return state | make.linear("final_layer.adaLN_modulation.1", dim, 2 * dim)


STATES = {"flux": flux, "sd3.5": sd35}

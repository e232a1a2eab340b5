"""Adapters for diffusion transformers: what their files call things, and which of them a file is.

XLabs-AI/flux-ip-adapter (v1, v2), InstantX/FLUX.1-dev-IP-Adapter and InstantX/SD3.5-Large-IP-Adapter, the last also
under the names that diffusers gave it.
"""

import re
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

# Where an adapter's attention goes: beside a UNet's cross-attention, after a block (XLabs), to the output of a joint
# attention (InstantX Flux), or there as an attention of its own over picture and image tokens (InstantX SD3.5).
Mechanism = Literal["cross-attention", "block output", "attention output", "joint attention"]

MADE_FOR: dict[Mechanism, str] = {
    "block output": "flux",
    "attention output": "flux",
    "joint attention": "sd3.5",
}
LABELS: dict[Mechanism, str] = {
    "block output": "XLabs Flux",
    "attention output": "InstantX Flux",
    "joint attention": "InstantX SD3.5",
}
REACHES: dict[Mechanism, tuple[str, ...]] = {  # parts of a model (families.PARTS) for which an adapter has weights
    "cross-attention": ("input", "middle", "output"),
    "block output": ("double",),
    "attention output": ("double", "single"),
    "joint attention": ("joint",),
}
XLABS_V2_TOKENS = 16  # v1 has 4

_RENAMES = (  # other layouts, as ours
    (
        re.compile(r"double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\."),
        r"ip_adapter.\1.to_\2_ip.",
    ),
    (re.compile(r"ip_adapter_proj_model\."), "image_proj."),
)
_TIME_RESAMPLER = (  # diffusers' names of the resampler with time (its loaders/transformer_sd3.py), as published
    ("ln0.", "0.norm1."),
    ("ln1.", "0.norm2."),
    ("attn.to_q.", "0.to_q."),
    ("attn.to_kv.", "0.to_kv."),
    ("attn.to_out.0.", "0.to_out."),
    ("adaln_norm.", "1.0."),
    ("ff.net.0.proj.", "1.1."),
    ("ff.net.2.", "1.3."),
    ("adaln_proj.", "2.1."),
)
_LAYER = re.compile(r"(image_proj\.layers\.\d+\.)(.+)")


def published_names(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A flat state dict with the keys of XLabs and diffusers as image_proj.* and ip_adapter.<number>.*; others stay."""
    return {_published(key): tensor for key, tensor in flat.items()}


def _published(key: str) -> str:
    for pattern, name in _RENAMES:
        if pattern.match(key):
            return pattern.sub(name, key)
    if match := _LAYER.fullmatch(key):
        for old, new in _TIME_RESAMPLER:
            if match[2].startswith(old):
                return match[1] + new + match[2].removeprefix(old)
    return key


def mechanism_of(layers: Mapping[str, Tensor]) -> Mechanism:
    """How a group of layers acts, told by its tensors: norms with time, biases, or numbers without a gap from 0."""
    if "0.norm_ip.linear.weight" in layers:
        return "joint attention"
    if "0.to_k_ip.bias" in layers:
        return "block output"
    return "attention output" if {"0.to_k_ip.weight", "1.to_k_ip.weight"} <= layers.keys() else "cross-attention"


def transformer_label(mechanism: Mechanism, tokens: int) -> str:
    """The name of an adapter for a transformer, as messages and lists call it."""
    v2 = mechanism == "block output" and tokens >= XLABS_V2_TOKENS
    return LABELS[mechanism] + (" v2" if v2 else "")

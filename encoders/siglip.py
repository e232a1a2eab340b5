"""SigLIP's pooling head, which turns the tokens of a picture into a vector, and which ComfyUI's vision model lacks.

Its tensors are vision_model.head.* in the file of the vision model (google/siglip-so400m-patch14-384).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from ..ipadapter.errors import CheckpointError
from ..ipadapter.other_files import SAFE_SUFFIXES

PREFIX = "vision_model.head."
PROBE = PREFIX + "probe"
HEADS = 16  # attention heads of so400m, the only SigLIP with published adapters
EPS = 1e-6
_NAMES = (
    "probe", "attention.in_proj_weight", "attention.in_proj_bias", "attention.out_proj.weight",
    "attention.out_proj.bias", "layernorm.weight", "layernorm.bias",
    "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
)  # fmt: skip
KEYS = tuple(PREFIX + name for name in _NAMES)
NORM = "vision_model.post_layernorm.weight"  # in the loaded model and in its file, so it identifies the file


def read_tensors(path: Path, keys: Sequence[str]) -> dict[str, Tensor]:
    """Read the tensors with these keys from a vision model's file; keys that the file lacks are left out."""
    if path.suffix.lower() in SAFE_SUFFIXES:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in keys if key in file.keys()}  # noqa: SIM118  # no mapping
    found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return {key: found[key] for key in keys if key in found}


def pool(tokens: Tensor, head: Mapping[str, Tensor]) -> Tensor:
    """Pool tokens (n, t, width), taken after the final norm, to (n, width) in float32; `head` has the tensors of KEYS.

    Raises:
        CheckpointError: `head` lacks a tensor of KEYS.
    """
    if missing := [key for key in KEYS if key not in head]:
        raise CheckpointError(f"the vision file's pooling head has no {', '.join(missing)}")
    w = {key.removeprefix(PREFIX): head[key].to(tokens.device, torch.float32) for key in KEYS}
    x, width = tokens.float(), tokens.shape[-1]
    probe = w["probe"].expand(len(x), -1, -1)
    parts = zip(
        (probe, x, x), w["attention.in_proj_weight"].chunk(3), w["attention.in_proj_bias"].chunk(3), strict=True
    )
    q, k, v = (F.linear(part, weight, bias).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part, weight, bias in parts)
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
    hidden = F.linear(attended, w["attention.out_proj.weight"], w["attention.out_proj.bias"])
    normed = F.layer_norm(hidden, (width,), w["layernorm.weight"], w["layernorm.bias"], EPS)
    inner = F.gelu(F.linear(normed, w["mlp.fc1.weight"], w["mlp.fc1.bias"]), approximate="tanh")
    return (hidden + F.linear(inner, w["mlp.fc2.weight"], w["mlp.fc2.bias"]))[:, 0]

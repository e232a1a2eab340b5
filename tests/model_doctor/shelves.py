"""Model folders with small files that show what the published ones show."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

import synthetic

SMALL: dict[str, Any] = {"dim": 64, "heads": 1, "depth": 1, "face_hidden": 16, "rank": 4}
VIT_H, VIT_G = (1024, 1280, 257), (1280, 1664, 257)


def write_adapter(path: Path, like: str = "", **changes: Any) -> Path:
    """The published adapter of that name, or like it: one number for every width that tells nothing."""
    variant, sizes = synthetic.ZOO[like or path.name]
    sizes = SMALL | sizes | changes
    wide = sizes.get("context") == 2048
    channels = synthetic.sdxl_channels(32, (1, 2)) if wide else synthetic.sd15_channels(32)
    path.parent.mkdir(parents=True, exist_ok=True)
    return synthetic.save(synthetic.adapter(variant, channels=channels, **sizes), path)


def encoder_tensors(sizes: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    pooled, hidden, tokens = sizes
    return {
        "visual_projection.weight": torch.zeros(pooled, hidden, dtype=torch.float16),
        "vision_model.embeddings.position_embedding.weight": torch.zeros(tokens, hidden, dtype=torch.float16),
    }


def write_encoder(path: Path, sizes: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(encoder_tensors(sizes), path)
    return path


def encoder_bytes(sizes: tuple[int, int, int]) -> bytes:
    return save(encoder_tensors(sizes))

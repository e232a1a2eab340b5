"""Tell what a model file is by its header: names and shapes of its tensors, without reading their values."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .checkpoint import read_checkpoint
from .config import AdapterConfig
from .errors import CheckpointError
from .shared_files import fingerprint


@dataclass(frozen=True)
class EncoderSizes:
    """A CLIP vision encoder: width of its pooled embeds, width of its hidden states, tokens per picture."""

    pooled: int
    hidden: int
    tokens: int

    def gives(self, config: AdapterConfig) -> bool:
        """Whether these are the embeds that an adapter takes."""
        return config.embed_dim == {"pooled": self.pooled, "hidden": self.hidden, None: None}[config.takes]


def peek(path: Path) -> dict[str, Any]:
    """The file's state dict with empty tensors of the right shapes; nothing for a damaged file or another format.

    A folder, a link to nowhere, or a pipe (which would be waited for) is nothing, too.
    """
    if not path.is_file():
        return {}
    try:
        if path.suffix.lower() in (".safetensors", ".sft"):
            with safe_open(path, framework="pt") as file:
                slices = {key: file.get_slice(key) for key in file.keys()}
                return {key: torch.empty(part.get_shape(), device="meta") for key, part in slices.items()}
        found = torch.load(path, map_location="meta", weights_only=True)
        return found if isinstance(found, dict) else {}
    except Exception:  # torch's readers raise whatever a damaged file leads them to: IndexError, AssertionError...
        return {}


@dataclass(frozen=True)
class Seen:
    """What a file is: at most one of an adapter, a vision encoder and a LoRA, told by its tensors."""

    tensors: int  # none: damaged, or no model file
    adapter: AdapterConfig | None = None
    encoder: EncoderSizes | None = None
    lora_width: int | None = None


def look(path: Path) -> Seen:
    """What a file is. The same unchanged file is opened once."""
    try:
        key = fingerprint(path)
    except OSError:
        return Seen(0)
    if key not in _seen:
        while len(_seen) >= MOST_SEEN:
            _seen.pop(next(iter(_seen)), None)
        _seen[key] = _look(path)
    return _seen[key]


MOST_SEEN = 4096
_seen: dict[tuple[Hashable, ...], Seen] = {}


def _look(path: Path) -> Seen:
    tensors = peek(path)
    try:
        return Seen(len(tensors), read_checkpoint(tensors, path.name).config)
    except CheckpointError:
        return Seen(len(tensors), None, _encoder(tensors), _lora_width(tensors))


def peek_adapter(path: Path) -> AdapterConfig | None:
    """What adapter a file is; None where it is none."""
    return look(path).adapter


def peek_encoder(path: Path) -> EncoderSizes | None:
    """What vision encoder a file is; None where it is none."""
    return look(path).encoder


def peek_lora_width(path: Path) -> int | None:
    """Width of the text that a LoRA's cross-attentions read, 768 for SD1.5 say; None where it changes none."""
    return look(path).lora_width


def _encoder(tensors: Mapping[str, Any]) -> EncoderSizes | None:
    """Under the names of transformers or of OpenCLIP."""
    shapes = {key: tuple(value.shape) for key, value in tensors.items() if isinstance(value, Tensor)}
    for prefix in ("", "visual."):
        table = shapes.get(f"{prefix}positional_embedding") or shapes.get(
            "vision_model.embeddings.position_embedding.weight"
        )
        if table is None:
            continue
        if projection := shapes.get("visual_projection.weight"):
            return EncoderSizes(projection[0], projection[1], table[0])
        if projection := shapes.get(f"{prefix}proj"):
            return EncoderSizes(projection[1], projection[0], table[0])
        if prefix == "" and "vision_model.embeddings.class_embedding" not in shapes:  # SigLIP: nothing projects
            return EncoderSizes(table[1], table[1], table[0])
    return None


def _lora_width(tensors: Mapping[str, Any]) -> int | None:
    for key, value in tensors.items():
        if "attn2_to_k.lora_down" in key or "attn2.to_k.lora_A" in key or "attn2.to_k.lora_down" in key:
            return value.shape[1]
    return None


def describe(path: Path) -> str:
    """A file's name and what is in it, for messages that list candidates."""
    if config := peek_adapter(path):
        return f"{path.name} ({config.variant} for {config.family})"
    if sizes := peek_encoder(path):
        return f"{path.name} (pooled {sizes.pooled}, hidden {sizes.hidden} wide)"
    return f"{path.name} (not understood)"

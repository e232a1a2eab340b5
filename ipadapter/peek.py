"""Recognise a model file by its header: names, shapes and dtypes of its tensors, without reading their values."""

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .checkpoint import read_checkpoint
from .config import AdapterConfig
from .errors import CheckpointError
from .names import name_with_folder
from .other_files import SAFE_SUFFIXES, OtherFile, other_file
from .shared_files import fingerprint

TYPES = {  # safetensors' names
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
CLIP_POSITIONS = "vision_model.embeddings.position_embedding.weight"
OPENCLIP_POSITIONS = "visual.positional_embedding"  # the key of the text tower is positional_embedding
OPENCLIP_PROJECTION = "visual.proj"
EVA_SHAPES = {  # shapes by which PuLID's encoder is recognised, with its authors' names or timm's
    r"visual\.(trunk\.)?pos_embed": (1, 577, 1024),
    r"visual\.(trunk\.)?head\.weight": (768, 1024),
    r"visual\.(trunk\.)?blocks\.23\.attn\.q_proj\.weight": (1024, 1024),
}


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of a vision encoder: width of its pooled embeds, width of its hidden states, tokens per picture."""

    pooled: int
    hidden: int
    tokens: int

    def gives(self, config: AdapterConfig) -> bool:
        """Whether its embeds, of the kind that an adapter takes, have the adapter's width."""
        return config.embed_dim == {"pooled": self.pooled, "hidden": self.hidden, None: None}[config.takes]


def peek(path: Path) -> dict[str, Any]:
    """The file's state dict with tensors on the meta device, which have shapes and dtypes without values.

    Empty for a damaged file, another format, and paths that are not regular files (opening a pipe would block).
    """
    if not path.is_file():
        return {}
    try:
        if path.suffix.lower() in SAFE_SUFFIXES:
            with safe_open(path, framework="pt") as file:
                return {key: _shape_and_type(file.get_slice(key)) for key in file.keys()}
        found = _peek_pickle(path)
        return found if isinstance(found, dict) else {}
    except Exception:  # torch raises many types for a damaged file: IndexError, AssertionError...
        return {}


def _shape_and_type(part: Any) -> Tensor:
    return torch.empty(part.get_shape(), dtype=TYPES.get(part.get_dtype(), torch.uint8), device="meta")


def _peek_pickle(path: Path) -> Any:
    """Load a pickle of tensors to the meta device. mmap=True leaves values on the disk with PyTorch before 2.6 too."""
    try:
        return torch.load(path, map_location="meta", weights_only=True, mmap=True)
    except RuntimeError:  # files in the format before PyTorch 1.6 cannot be mapped
        return torch.load(path, map_location="meta", weights_only=True)


@dataclass(frozen=True)
class FileFacts:
    """The content of a file, by its header; at most one of adapter, encoder, lora_width and other is set.

    Files of unknown content have none of them.
    """

    tensors: int  # their number; 0 for a damaged file and for other formats
    adapter: AdapterConfig | None = None
    encoder: EncoderSizes | None = None
    lora_width: int | None = None
    other: OtherFile | None = None
    eva: bool = False  # whether it is the EVA02-CLIP L 336 encoder, which PuLID reads
    fault: str = ""  # the loader's message, for a file with an adapter's keys that cannot be used

    def __str__(self) -> str:
        if self.adapter is not None:
            return f"{self.adapter.variant} for {self.adapter.family}"
        if self.encoder is not None:
            return f"pooled {self.encoder.pooled}, hidden {self.encoder.hidden} wide, {self.encoder.tokens} tokens"
        return self.other.title if self.other is not None else "not understood"


MOST_KNOWN = 4096
_known: dict[tuple[Hashable, ...], FileFacts] = {}


def facts_of(path: Path) -> FileFacts:
    """The content of a file; results are cached by path, size and time of the file."""
    try:
        key = fingerprint(path)
    except OSError:
        return FileFacts(0)
    if key not in _known:
        while len(_known) >= MOST_KNOWN:
            _known.pop(next(iter(_known)), None)
        _known[key] = _read(path)
    return _known[key]


def _read(path: Path) -> FileFacts:
    tensors = peek(path)
    count = len(tensors)
    try:
        return FileFacts(count, read_checkpoint(tensors, name_with_folder(path)).config)
    except CheckpointError as error:
        if encoder := _encoder(tensors):
            return FileFacts(count, encoder=encoder)
        keys = list(_keys(tensors))
        other = other_file(keys)
        broken = other is None and any(".to_k_ip." in key for key in keys)
        fault = str(error) if broken else ""
        return FileFacts(count, None, None, _lora_width(tensors), other, is_eva(tensors), fault)


def peek_adapter(path: Path) -> AdapterConfig | None:
    """The config of the adapter in a file, or None."""
    return facts_of(path).adapter


def peek_encoder(path: Path) -> EncoderSizes | None:
    """The sizes of the vision encoder in a file; None for other files, and encoders that ComfyUI cannot load."""
    return facts_of(path).encoder


def peek_lora_width(path: Path) -> int | None:
    """The width of the text embeds in a LoRA's cross-attentions, 768 for SD1.5; None without such a LoRA."""
    return facts_of(path).lora_width


def describe(name: str, path: Path) -> str:
    """A file's listed name and its content in brackets, for messages that list candidates."""
    return f"{name} ({facts_of(path)})"


def _encoder(tensors: Mapping[str, Any]) -> EncoderSizes | None:
    """Sizes of an encoder with transformers' keys or OpenCLIP's, which ComfyUI's loader knows; None without them."""
    shapes = {key: tuple(value.shape) for key, value in tensors.items() if isinstance(value, Tensor)}
    if table := shapes.get(CLIP_POSITIONS):
        if projection := shapes.get("visual_projection.weight"):
            return EncoderSizes(projection[0], projection[1], table[0])
        if "vision_model.embeddings.class_embedding" not in shapes:  # SigLIP has no projection: a head pools
            return EncoderSizes(table[1], table[1], table[0])
        return None
    if (table := shapes.get(OPENCLIP_POSITIONS)) and (projection := shapes.get(OPENCLIP_PROJECTION)):
        return EncoderSizes(projection[1], projection[0], table[0])
    return None


def is_eva(tensors: Mapping[str, Any]) -> bool:
    """Whether tensors are those of the EVA02-CLIP L 336 encoder."""
    shapes = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in tensors.items()}
    return all(
        any(re.fullmatch(name, found) and shape == has for found, has in shapes.items())
        for name, shape in EVA_SHAPES.items()
    )


def _lora_width(tensors: Mapping[str, Any]) -> int | None:
    for key, value in tensors.items():
        if "attn2_to_k.lora_down" in key or "attn2.to_k.lora_A" in key or "attn2.to_k.lora_down" in key:
            return value.shape[1]
    return None


def _keys(tensors: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of all tensors; keys of nested groups have the group's key before them, with a dot."""
    for key, value in tensors.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"

"""Tell SDXL's anime families by a checkpoint's name or metadata, which is a hint: their tensors are SDXL's.

Adapters of SDXL's base model make pictures tiled 2x2 with them, by users' reports even at a weight of 0.2.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .catalog import ANIME
from .config import AdapterConfig
from .names import words_of
from .other_files import SAFE_SUFFIXES

BASES = {  # in the words of a name
    "NoobAI": r"noob",
    "Illustrious": r"illustrious|\bilxl\b|\bwai\b",
    "Pony": r"pony",
    "v-prediction": r"\bv ?pred",
}
V_PREDICTION = "v_pred"  # an empty tensor by which a checkpoint tells ComfyUI that it predicts v
METADATA = ("modelspec.title", "modelspec.architecture", "modelspec.prediction_type", "ss_base_model_version")


def anime_base(name: str, metadata: Mapping[str, str] | None = None) -> str | None:
    """The family that a checkpoint's name or metadata says, a key of BASES; None where neither does."""
    known = metadata or {}
    words = words_of(" ".join([name, *(known[key] for key in METADATA if key in known)]))
    named = next((base for base, pattern in BASES.items() if re.search(pattern, words)), None)
    return named or ("v-prediction" if known.get("modelspec.prediction_type", "").lower() == "v" else None)


def anime_base_of_file(path: Path) -> str | None:
    """The same of a file on the disk; metadata and the key V_PREDICTION are read where its format has some."""
    metadata, marked = None, False
    if path.suffix.lower() in SAFE_SUFFIXES:
        try:
            with safe_open(path, framework="pt") as file:
                metadata, marked = file.metadata(), V_PREDICTION in file.keys()
        except (SafetensorError, OSError):  # damaged: its loader says so
            pass
    return anime_base(path.name, metadata) or ("v-prediction" if marked else None)


def warning(adapter: str, config: AdapterConfig, model: str, base: str | None) -> str:
    """A line for the node where an adapter of SDXL's base model meets an anime model; empty where it does not."""
    made_for_anime = anime_base(adapter) or "anime" in adapter.lower() or config.training.on_anime
    if base is None or config.family != "sdxl" or made_for_anime:
        return ""
    return (
        f"{model} seems to be a {base} model, and {adapter} was trained with SDXL's base model: pictures may come out "
        f"tiled 2x2, even at a weight of 0.2. If they do, use the preset {ANIME} of the community loader."
    )

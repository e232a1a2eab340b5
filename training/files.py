"""Write a model's file: tensors in 16 bits, and its origin in the metadata."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from .data import HELD_OUT_SEED, MANY_SEED, MANY_STYLES, SEED, STYLES

ROOT = Path(__file__).parents[1]
HELD_OUT = f"the palettes of seed {HELD_OUT_SEED} and the textures checks and rings"


DRAWN = f"pictures drawn by training/pictures.py in {STYLES} styles, seed {SEED}"
MANY = f", then in {MANY_STYLES} with many more textures, seed {MANY_SEED}"


def save(
    path: Path, tensors: Mapping[str, Tensor], what: str, seed: int, held_out: str = HELD_OUT, many: bool = False
) -> None:
    """Write tensors as half-precision safetensors with licence, training data, seed and commit."""
    metadata = {
        "what": what,
        "license": "Apache-2.0",
        "training_data": f"{DRAWN}{MANY if many else ''}; nothing else",
        "held_out": held_out,
        "seed": str(seed),
        "commit": commit(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.detach().cpu().half().contiguous() for key, value in tensors.items()}, path, metadata)


def read(path: Path) -> dict[str, Tensor]:
    """A file's tensors in 32 bits."""
    return {key: value.float() for key, value in load_file(path).items()}


def commit() -> str:
    """The commit of the training code; `unknown` outside a git checkout."""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return asked.stdout.strip()

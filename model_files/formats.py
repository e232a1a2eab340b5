"""Check that a file is whole and of its format, without executing anything in it."""

import hashlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from .errors import DownloadError

BLOCK = 1 << 22


def check_format(path: Path, name: str) -> None:
    """DownloadError unless a file holds named tensors in the format that its final name says."""
    try:
        if name.endswith(".safetensors"):
            with safe_open(path, framework="pt") as file:  # compares the header with the length of the file
                whole = bool(list(file.keys()))
        else:
            whole = isinstance(torch.load(path, map_location="meta", weights_only=True), dict)
    except pickle.UnpicklingError:  # without torch's words, which advise to run what is in the file
        raise DownloadError(f"{name} was fetched, and thrown away: it holds more than tensors.") from None
    except (SafetensorError, Exception) as error:  # torch's readers raise whatever a damaged file leads them to
        raise DownloadError(f"{name} was fetched, and thrown away: it is no whole model file. Try again.") from error
    if not whole:
        raise DownloadError(f"{name} was fetched, and thrown away: there are no named tensors in it.")


def check_digest(path: Path, name: str, expected: str) -> None:
    """DownloadError unless a file has a SHA-256 (64 digits), or Git's own hash of a small file (40)."""
    if digest(path, git=len(expected) == 40) != expected.lower():
        raise DownloadError(
            f"{name} was fetched, and thrown away: its content is not the published one (its hash should be "
            f"{expected[:12]}...). Try again; if it happens again, do not use files from there."
        )


def digest(path: Path, git: bool = False) -> str:
    """The SHA-256 of a file, or the hash that Git gives its content."""
    found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode()) if git else hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()

"""Check that a file is complete and in its format, without executing code from it."""

import hashlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from .errors import DownloadError

BLOCK = 1 << 22


def check_format(path: Path, name: str) -> None:
    """Check that a file holds named tensors, in the format of the suffix of `name` (its final name).

    Raises:
        DownloadError: it is damaged, in another format, or holds more or less than tensors.
    """
    try:
        if name.endswith(".safetensors"):
            with safe_open(path, framework="pt") as file:  # safe_open compares the header with the file's length
                whole = bool(list(file.keys()))
        else:
            whole = isinstance(torch.load(path, map_location="meta", weights_only=True), dict)
    except pickle.UnpicklingError:  # torch's message is dropped: it advises to run the file's code
        raise DownloadError(f"{name} was fetched, and thrown away: it holds more than tensors.") from None
    except (SafetensorError, Exception) as error:  # torch raises many types for a damaged file
        raise DownloadError(f"{name} was fetched, and thrown away: it is no whole model file. Try again.") from error
    if not whole:
        raise DownloadError(f"{name} was fetched, and thrown away: there are no named tensors in it.")


def check_digest(path: Path, name: str, expected: str) -> None:
    """Compare a file with an expected SHA-256 (64 digits) or Git blob hash (40 digits); `name` is for the message.

    Raises:
        DownloadError: the hash differs.
    """
    if digest(path, git=len(expected) == 40) != expected.lower():
        raise DownloadError(
            f"{name} was fetched, and thrown away: its content is not the published one (its hash should be "
            f"{expected[:12]}...). Try again; if it happens again, do not use files from there."
        )


def digest(path: Path, git: bool = False) -> str:
    """The SHA-256 of a file, or with `git` its Git blob hash, as hexadecimal digits."""
    found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode()) if git else hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()

"""Save and load embeds: safetensors files with a format version, and pickled tensors of earlier packs.

Embeds are (n, width) pooled or (n, tokens, width) hidden states.
"""

import logging
from math import isqrt
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .checks import check_embeds
from .errors import AdapterError

logger = logging.getLogger(__name__)

FORMAT = "ipadapter-atelier embeds"
VERSION = 1
KNOWN = tuple(str(version) for version in range(1, VERSION + 1))
SUFFIX = ".ipadpt.safetensors"
OLD_SUFFIX = ".ipadpt"
SUFFIXES = (SUFFIX, OLD_SUFFIX)


def save_embeds(embeds: Tensor, path: Path) -> None:
    """Write embeds to a new safetensors file.

    Raises:
        AdapterError: the tensor has not the shape or values of embeds.
        FileExistsError: the file exists already.
    """
    check_embeds(embeds, "What is to be saved")
    if path.exists():
        raise FileExistsError(f"{path} exists already; embeds are never overwritten.")
    metadata = {"format": FORMAT, "version": str(VERSION)}
    save_file({"embeds": embeds.detach().cpu().contiguous()}, path, metadata)


def load_embeds(path: Path) -> Tensor:
    """Read embeds from a file, to the CPU; the file's suffix decides between safetensors and pickle.

    Raises:
        AdapterError: the file is damaged, of another format or version, or holds no embeds.
    """
    read = read_safetensors if path.name.endswith(SUFFIX) else read_pickle
    return check_embeds(read(path), path.name)


def read_safetensors(path: Path) -> Tensor:
    """Read the embeds of a file by `save_embeds`; AdapterError for a damaged file, another format or version."""
    try:
        with safe_open(path, "pt") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
            if metadata.get("format") != FORMAT or "embeds" not in names:
                raise AdapterError(f"{path.name} holds {names[:4]!s:.200}, not embeds saved by IPAdapter Save Embeds.")
            if metadata.get("version") not in KNOWN:
                raise AdapterError(
                    f"{path.name} was saved in version {metadata.get('version')!r:.40} of the format, and this pack "
                    f"reads up to {VERSION}. Update the pack, or encode the reference again."
                )
            return file.get_tensor("embeds").clone()  # a copy, since a memory-mapped file may be overwritten
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path.name} is no whole safetensors file ({error}). Save the embeds again.") from error


def read_pickle(path: Path) -> Tensor:
    """Read the pickled tensor of an earlier pack, without executing code in the file.

    Before March 2024, positive and negative embeds were saved as a stacked tensor. Only the positive half is returned,
    since the apply nodes compute the negative embeds.

    Raises:
        AdapterError: the file is damaged, or is not a single tensor.
    """
    try:
        embeds = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign pickle may raise any type; torch's advice is dropped
        raise AdapterError(f"{path.name} is no saved tensor ({type(error).__name__}). Save it again.") from None
    if not isinstance(embeds, Tensor):
        raise AdapterError(f"{path.name} holds a {type(embeds).__name__}, and embeds are a single tensor.")
    if is_stacked_pair(embeds):
        logger.info("%s is from before March 2024: its positive half is used.", path.name)
        return embeds[0]
    return embeds


def is_stacked_pair(embeds: Tensor) -> bool:
    """Whether a tensor stacks positive and negative embeds: (2, n, width) or (2, n, tokens, width).

    (2, tokens, width) are hidden states of two images instead if `tokens` is a square number of patches plus a class
    token, and at least 5.
    """
    if embeds.ndim == 3:
        tokens = embeds.shape[1]
        return embeds.shape[0] == 2 and (tokens < 5 or isqrt(tokens - 1) ** 2 != tokens - 1)
    return embeds.ndim == 4 and embeds.shape[0] == 2

"""Save and load embeds: safetensors with a version, and the pickled tensors that other packs wrote before.

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
    """Write embeds to a new file.

    Raises:
        AdapterError: not embeds.
        FileExistsError: the file is there already.
    """
    check_embeds(embeds, "What is to be saved")
    if path.exists():
        raise FileExistsError(f"{path} exists already; embeds are never overwritten.")
    metadata = {"format": FORMAT, "version": str(VERSION)}
    save_file({"embeds": embeds.detach().cpu().contiguous()}, path, metadata)


def load_embeds(path: Path) -> Tensor:
    """Embeds from a file, on the CPU; AdapterError names the file and what is wrong with it."""
    read = read_safetensors if path.name.endswith(SUFFIX) else read_pickle
    return check_embeds(read(path), path.name)


def read_safetensors(path: Path) -> Tensor:
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
            return file.get_tensor("embeds").clone()  # a copy, because a mapped file may be written over
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path.name} is no whole safetensors file ({error}). Save the embeds again.") from error


def read_pickle(path: Path) -> Tensor:
    """A tensor that an earlier pack saved; no code in the file is executed.

    Before March 2024 positive and negative embeds were stacked in one tensor. Only the positive ones are used: the
    negative ones are computed again when they are applied.
    """
    try:
        embeds = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a foreign file makes the unpickler raise; its advice is not passed on
        raise AdapterError(f"{path.name} is no saved tensor ({type(error).__name__}). Save it again.") from None
    if not isinstance(embeds, Tensor):
        raise AdapterError(f"{path.name} holds a {type(embeds).__name__}, and embeds are a single tensor.")
    if is_stacked_pair(embeds):
        logger.info("%s is from before March 2024: its positive half is used.", path.name)
        return embeds[0]
    return embeds


def is_stacked_pair(embeds: Tensor) -> bool:
    """Whether a tensor is (2, n, ...): hidden states have one class token and a square of patches, n images rarely."""
    if embeds.ndim == 3:
        tokens = embeds.shape[1]
        return embeds.shape[0] == 2 and (tokens < 5 or isqrt(tokens - 1) ** 2 != tokens - 1)
    return embeds.ndim == 4 and embeds.shape[0] == 2

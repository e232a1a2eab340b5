"""The pooling head of a loaded SigLIP, which ComfyUI leaves out, read from the file that the model came from."""

from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...encoders.siglip import KEYS, NORM, PROBE, pool, read_tensors
from ...ipadapter.errors import EncoderMismatchError
from ...ipadapter.peek import peek
from ..host_types import HostEncoder
from .search import ENCODERS, folders

_heads: WeakKeyDictionary[HostEncoder, dict[str, Tensor]] = WeakKeyDictionary()
ROUNDING = 2**-7  # relative rounding error of bfloat16, for a model that was loaded in another dtype than the file's


def siglip_pooled(clip_vision: HostEncoder, tokens: Tensor) -> Tensor:
    """Pooled embeds (n, width) of a SigLIP's tokens (n, t, width) after its last norm.

    Raises:
        EncoderMismatchError: no file in models/clip_vision has this model's weights and its pooling head.
    """
    if clip_vision not in _heads:
        _heads[clip_vision] = _find(clip_vision, tokens.shape[-1])
    return pool(tokens, _heads[clip_vision])


def _find(clip_vision: HostEncoder, width: int) -> dict[str, Tensor]:
    own = clip_vision.get_sd().get(NORM)
    headless = []
    for path in folders(ENCODERS)[ENCODERS].files.values():
        if own is None or not _is_of(path, own):
            continue
        if PROBE in peek(path):
            return read_tensors(path, KEYS)
        headless.append(path.name)
    found = f"{' and '.join(headless)} has none" if headless else "none of the files in models/clip_vision has it"
    raise EncoderMismatchError(
        f"This adapter takes the pooled embeds of a SigLIP {width} wide, and its pooling head ({PROBE}) was not found: "
        f"{found}. Put sigclip_vision_patch14_384.safetensors of huggingface.co/Comfy-Org/sigclip_vision_384, which "
        "has it, into models/clip_vision and load that file."
    )


def _is_of(path: Path, own: Tensor) -> bool:
    """Whether a file has the weights of a loaded model: compares the weights of the last norm."""
    shapes = peek(path)
    if NORM not in shapes or shapes[NORM].shape != own.shape:
        return False
    norm = read_tensors(path, (NORM,))[NORM]
    return torch.allclose(norm.float(), own.detach().float().cpu(), rtol=ROUNDING)

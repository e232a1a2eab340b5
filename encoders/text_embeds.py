"""Take what words say out of a picture's embeds (InstantStyle, arXiv:2404.02733, "subtracting content features")."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ipadapter.errors import AdapterError, EncoderMismatchError

PAIRS = (
    "ip-adapter_sd15, ip-adapter_sd15_light_v11 and ip-adapter_sdxl_vit-h with ViT-H-14; ip-adapter_sdxl and "
    "ip-adapter_sd15_vit-G with ViT-bigG-14"
)


def phrases(text: str) -> list[str]:
    """The phrases of a text, parted by commas or lines; AdapterError when there are none."""
    found = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    if not found:
        raise AdapterError("There are no words to subtract. Write what should not come along, such as: a cat, sofa")
    return found


def subtract(embeds: Tensor, words: Tensor, strength: float) -> Tensor:
    """Embeds minus the words' direction, `strength` times as long as the embeds themselves."""
    direction = F.normalize(words.mean(0, keepdim=True), dim=-1)
    return embeds - strength * embeds.norm(dim=-1, keepdim=True) * direction


def project_out(embeds: Tensor, words: Tensor, strength: float) -> Tensor:
    """Embeds minus `strength` times what they have along the words; at 1 nothing along any of them is left."""
    along = torch.linalg.lstsq(words.T, embeds.T).solution  # (words, n): the embeds' shadow on what the words span
    return embeds - strength * (words.T @ along).T


METHODS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"subtract": subtract, "project out": project_out}


def without_text(embeds: Tensor, words: Tensor, strength: float, method: str = "subtract") -> Tensor:
    """Pooled embeds (n, d) without what word embeds (m, d) of the same space say; lengths of words do not matter.

    Raises:
        EncoderMismatchError: hidden states, or embeds of another width than the words'.
    """
    if embeds.ndim != 2:
        raise EncoderMismatchError(
            "Text can only be subtracted from pooled embeds, one vector per picture, and this adapter takes hidden "
            f"states {tuple(embeds.shape)}. Pairs that work: {PAIRS}."
        )
    if embeds.shape[-1] != words.shape[-1]:
        raise EncoderMismatchError(
            f"The embeds are {embeds.shape[-1]} wide and the text tower's {words.shape[-1]}: the text must come from "
            f"the encoder that made the embeds. Pairs that work: {PAIRS}."
        )
    if not bool((words.norm(dim=-1) > 0).all()):
        raise AdapterError("The text tower gave a zero vector: its file is broken.")
    return METHODS[method](embeds.float(), F.normalize(words.float(), dim=-1), strength).to(embeds)

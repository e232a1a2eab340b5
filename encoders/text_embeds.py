"""Remove what words name from image embeds (InstantStyle, arXiv:2404.02733, "subtracting content features")."""

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
    """Split a text into its phrases at commas and line ends; AdapterError for a text without phrases."""
    found = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    if not found:
        raise AdapterError("There are no words to subtract. Write what should not come along, such as: a cat, sofa")
    return found


def subtract(embeds: Tensor, words: Tensor, strength: float) -> Tensor:
    """Embeds (n, d) minus the mean direction of words (m, d), scaled to `strength` times the length of the embeds."""
    direction = F.normalize(words.mean(0, keepdim=True), dim=-1)
    return embeds - strength * embeds.norm(dim=-1, keepdim=True) * direction


def project_out(embeds: Tensor, words: Tensor, strength: float) -> Tensor:
    """Embeds (n, d) minus `strength` times their projection on the span of words (m, d); at 1 they are orthogonal."""
    along = torch.linalg.lstsq(words.T, embeds.T).solution  # (m, n): coefficients of the projection on the words' span
    return embeds - strength * (words.T @ along).T


METHODS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"subtract": subtract, "project out": project_out}


def without_text(embeds: Tensor, words: Tensor, strength: float, method: str = "subtract") -> Tensor:
    """Pooled embeds (n, d) with the content of word embeds (m, d) removed by a `method` of METHODS.

    Both embeds come from the towers of the same encoder. The words are normalised, so their lengths have no effect.

    Raises:
        EncoderMismatchError: the embeds are hidden states, or their width is not that of the words.
        AdapterError: a word's embeds are all 0.
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

"""Words in the space of the demo's vision encoder: what CLIP's text tower is to CLIP's vision tower."""

import torch
from torch import Tensor

from .words import WORDS, UnknownWordError, find_words


def embed_texts(texts: list[str], words: Tensor) -> Tensor:
    """Embeds (n, d) of texts from one vector per word (words, d): the mean of a text's words, each counted once.

    Raises:
        UnknownWordError: a word that the demo models never learned, or none at all.
    """
    found = [sorted(set(find_words(text))) for text in texts]
    if not all(found):
        raise UnknownWordError(f"A text has no word that could be compared. Known are: {', '.join(WORDS)}.")
    return torch.stack([words[numbers].mean(0) for numbers in found])

"""Embeds of words in the space of the demo's vision encoder, as CLIP's text tower has for CLIP's vision tower."""

import torch
from torch import Tensor

from .words import WORDS, UnknownWordError, find_words


def embed_texts(texts: list[str], words: Tensor) -> Tensor:
    """Embeds (n, d) of texts from one vector per word (words, d): the mean of a text's words, each counted once.

    Raises:
        UnknownWordError: a text with a word that the demo models were not trained on, or without a word.
    """
    known = [sorted(set(find_words(text))) for text in texts]
    if not all(known):
        raise UnknownWordError(f"A text has no word that could be compared. Known are: {', '.join(WORDS)}.")
    return torch.stack([words[numbers].mean(0) for numbers in known])

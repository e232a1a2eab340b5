"""Embeds of words: the mean embeds of pictures of a word, minus the mean of all words.

This needs no training. A class's mean embeds are its prototype (Snell et al. 2017, arXiv:1703.05175).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from demo_models.words import WORDS

from .files import save
from .pictures import draw_picture, draw_styles
from .vision import new_encoder, normalise

EACH, SEED = 200, 11  # pictures of every word


def seen(encoder: Any, each: int, seed: int, held_out: bool = False) -> Tensor:
    """Embeds of pictures (words, each, d), each picture in a style of its own."""
    rng = np.random.default_rng(seed)
    styles = draw_styles(len(WORDS) * each, rng, held_out)
    rows = [(word, number * each + i) for number, word in enumerate(WORDS) for i in range(each)]
    pictures = torch.stack([draw_picture(word, styles, index, rng) for word, index in rows])
    with torch.no_grad():
        parts = [encoder(normalise(part)).image_embeds for part in pictures.split(200)]
    return torch.cat(parts).unflatten(0, (len(WORDS), each))


def word_vectors(embeds: Tensor) -> Tensor:
    """A vector of length 1 for each word, (words, d), from embeds (words, n, d)."""
    means = normalize(embeds, dim=-1).mean(1)
    return normalize(means - means.mean(0), dim=-1)


def load_encoder(folder: Path) -> Any:
    """The trained vision encoder, as a module of transformers."""
    encoder = new_encoder().eval()
    encoder.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / "vision.safetensors").items()})
    return encoder


def write_texts(folder: Path, each: int = EACH) -> None:
    vectors = word_vectors(seen(load_encoder(folder), each, SEED))
    save(folder / "texts.safetensors", {"words": vectors}, "words in the space of the vision encoder", SEED)

"""Words to text tokens: one learned vector a word, as a text encoder's first layer, with no encoder behind it."""

import re

import torch
from torch import Tensor, nn

from .config import CONTEXT, TOKENS

WORDS = ("circle", "triangle", "star", "heart", "moon", "house", "tree", "fish", "boat", "mountains")
FILLERS = ("a", "an", "the", "and", "of", "with")  # read over


class UnknownWordError(ValueError):
    """The prompt has a word that the demo models never learned."""


def weighted_words(prompt: str) -> list[tuple[int, float]]:
    """Numbers of the words in a prompt with their weights, in order: `(fish:1.5)` weighs 1.5, `fish` 1.

    Raises:
        UnknownWordError: words that mean nothing here, or too many.
    """
    found = re.findall(r"\(([^():]*):\s*([0-9]*\.?[0-9]+)\s*\)|([^()]+)", prompt)
    parts = [(inside or plain, float(weight or 1)) for inside, weight, plain in found]
    find_words(" ".join(text for text, _ in parts))  # all together may be too many
    return [(number, weight) for text, weight in parts for number in find_words(text)]


def find_words(prompt: str) -> list[int]:
    """Numbers of the words in a prompt, in order; raises UnknownWordError for words that mean nothing here."""
    spoken = [word for word in prompt.lower().replace(",", " ").replace(".", " ").split() if word not in FILLERS]
    unknown = [word for word in spoken if word not in WORDS]
    known = f"The demo models know these words: {', '.join(WORDS)}."
    if unknown:
        raise UnknownWordError(f"{known} Found: {', '.join(unknown):.200}. Please use one of theirs.")
    if len(spoken) >= TOKENS:
        raise UnknownWordError(f"{known} At most {TOKENS - 1} at once; found {len(spoken)}.")
    return [WORDS.index(word) for word in spoken]


class WordEmbedding(nn.Module):
    """Word numbers to tokens: a begin, the words, and ends up to a fixed number of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS) + 2, CONTEXT)
        self.positions = nn.Embedding(TOKENS, CONTEXT)

    def forward(self, numbers: Tensor) -> Tensor:
        """Tokens (n, 4, 64) of `pad`ded word numbers (n, 4)."""
        return self.words(numbers) + self.positions.weight


def pad(numbers: list[int]) -> Tensor:
    """Word numbers (4,) between a begin and ends."""
    begin, end = len(WORDS), len(WORDS) + 1
    return torch.tensor([begin, *numbers, *[end] * (TOKENS - 1 - len(numbers))])


def embed_prompt(words: WordEmbedding, prompt: str) -> Tensor:
    """Tokens (1, 4, 64) of a prompt; a weight moves its word away from nothing, as in ComfyUI's text encoders."""
    spoken = weighted_words(prompt)
    nothing, tokens = words(torch.stack([pad([]), pad([number for number, _ in spoken])]))
    weights = torch.ones(len(tokens), 1)
    weights[1 : len(spoken) + 1, 0] = torch.tensor([weight for _, weight in spoken])
    return torch.where(weights == 1, tokens, nothing + weights * (tokens - nothing)).unsqueeze(0)

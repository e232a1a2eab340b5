"""Words to text tokens: a trained vector for each word, like a text encoder's first layer, without further layers."""

import re

import torch
from torch import Tensor, nn

from .config import CONTEXT, TOKENS

WORDS = ("circle", "triangle", "star", "heart", "moon", "house", "tree", "fish", "boat", "mountains")
FILLERS = ("a", "an", "the", "and", "of", "with")  # ignored


class UnknownWordError(ValueError):
    """The prompt has a word that the demo models were not trained on, or too many words."""


def weighted_words(prompt: str) -> list[tuple[int, float]]:
    """Numbers of the words in a prompt with their weights, in order: `(fish:1.5)` weighs 1.5, `fish` 1.

    Raises:
        UnknownWordError: a word that the models were not trained on, or too many words.
    """
    matches = re.findall(r"\(([^():]*):\s*([0-9]*\.?[0-9]+)\s*\)|([^()]+)", prompt)
    parts = [(inside or plain, float(weight or 1)) for inside, weight, plain in matches]
    find_words(" ".join(text for text, _ in parts))  # raises if all parts together have too many words
    return [(number, weight) for text, weight in parts for number in find_words(text)]


def find_words(prompt: str) -> list[int]:
    """Numbers of the words in a prompt, in order.

    Raises:
        UnknownWordError: a word that the models were not trained on, or too many words.
    """
    spoken = [word for word in prompt.lower().replace(",", " ").replace(".", " ").split() if word not in FILLERS]
    unknown = [word for word in spoken if word not in WORDS]
    known = f"The demo models know these words: {', '.join(WORDS)}."
    if unknown:
        raise UnknownWordError(f"{known} The prompt has: {', '.join(unknown):.200}. Please use the known words.")
    if len(spoken) >= TOKENS:
        raise UnknownWordError(f"{known} At most {TOKENS - 1} at once; the prompt has {len(spoken)}.")
    return [WORDS.index(word) for word in spoken]


class WordEmbedding(nn.Module):
    """Word numbers to tokens: a start token, the words, and end tokens up to a fixed number."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS) + 2, CONTEXT)
        self.positions = nn.Embedding(TOKENS, CONTEXT)

    def forward(self, numbers: Tensor) -> Tensor:
        """Tokens (n, 4, 64) of `pad`ded word numbers (n, 4)."""
        return self.words(numbers) + self.positions.weight


def pad(numbers: list[int]) -> Tensor:
    """Word numbers between a start token and end tokens, (4,)."""
    begin, end = len(WORDS), len(WORDS) + 1
    return torch.tensor([begin, *numbers, *[end] * (TOKENS - 1 - len(numbers))])


def embed_prompt(words: WordEmbedding, prompt: str) -> Tensor:
    """Tokens (1, 4, 64) of a prompt; a weight scales the difference of a word's token from the empty prompt's token, as
    in ComfyUI's text encoders.
    """
    spoken = weighted_words(prompt)
    empty, tokens = words(torch.stack([pad([]), pad([number for number, _ in spoken])]))
    weights = torch.ones(len(tokens), 1)
    weights[1 : len(spoken) + 1, 0] = torch.tensor([weight for _, weight in spoken])
    return torch.where(weights == 1, tokens, empty + weights * (tokens - empty)).unsqueeze(0)

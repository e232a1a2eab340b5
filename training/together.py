"""Continue the training of the UNet and both adapters together.

In earlier stages the UNet was trained alone, and the adapters on a frozen UNet, as in IP-Adapter. Such a UNet expects a
single palette in a picture, and adapters cannot overcome this in every layer. Here the UNet is trained with them.
On the CPU this takes about three hours of a core, and the round on many textures half a day more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ipadapter.adapter import AdapterNetwork
from ipadapter.sites import find_sites

from .adapter import Examples, Shown, drop, project
from .loop import Curve, Plan, mixed, train, train_rounds
from .unet import NO_WORDS, Denoiser, Noise, word_numbers


@dataclass(frozen=True)
class Round:
    """A part of the training; `noisy` draws steps of much noise more often."""

    plan: Plan
    noisy: bool


ROUNDS = (
    Round(Plan(steps=7500, batch=64, rate=1e-3, seed=8, average=0.995), noisy=True),  # where colours are decided
    Round(Plan(steps=3600, batch=64, rate=1e-3, seed=10, average=0.998), noisy=False),  # where textures are, too
)
MANY_ROUNDS = (
    Round(Plan(steps=3529, batch=512, rate=1.2e-3, seed=12, average=0.999), noisy=False),  # on many textures
)
PLAIN = 0.3  # share of pictures without an adapter, so that the UNet also works alone
SPLIT = 0.5  # share of pictures in two styles, with and without an adapter


class Trio(nn.Module):
    """The three models that are trained."""

    def __init__(self, denoiser: Denoiser, standard: AdapterNetwork, plus: AdapterNetwork) -> None:
        super().__init__()
        self.denoiser, self.standard, self.plus = denoiser, standard, plus


def train_together(
    trio: Trio,
    examples: dict[str, Examples],
    rounds: Sequence[Round] = ROUNDS,
    device: str = "cpu",
    checkpoint: Path | None = None,
    name: str = "together",
) -> Curve:
    """Train the three models in place, in rounds."""
    return train_rounds(
        name, rounds, lambda one, file: train_round(trio, examples, one, device, file, name), checkpoint
    )


def train_round(
    trio: Trio,
    examples: dict[str, Examples],
    one: Round,
    device: str,
    checkpoint: Path | None = None,
    name: str = "together",
) -> Curve:
    """Train a round of noise removal, in place."""
    trio.to(device).requires_grad_(True).train()
    return train(name, trio, one.plan, Denoising(trio, examples, one.plan.batch, device, one.noisy), checkpoint)


class Denoising:
    """The loss of noise removal; a part of every batch is without an adapter, the other part with a random adapter."""

    def __init__(self, trio: Trio, examples: dict[str, Examples], batch: int, device: str, noisy: bool = False) -> None:
        self.denoiser, self.examples, self.device, self.noisy = trio.denoiser, examples, device, noisy
        self.noise, self.plain, self.batch = Noise(), round(batch * PLAIN), batch
        self.adapters = {"standard": trio.standard, "plus": trio.plus}
        sites = find_sites(trio.denoiser.unet)
        self.shown = {name: Shown(adapter, sites) for name, adapter in self.adapters.items()}

    def __call__(self, generator: torch.Generator) -> Tensor:
        variant = "standard" if torch.rand((), generator=generator) < 0.5 else "plus"
        lesson, shown, plain = self.examples[variant], self.shown[variant], self.plain
        latents, words = lesson.plain(plain, SPLIT, generator)
        more, more_words, references = lesson.draw(self.batch - plain, SPLIT, generator)
        latents, words = torch.cat((latents, more)), torch.cat((words, more_words))
        noised, wanted, steps = self.noise.add(latents, generator, self.noisy)
        no_image, no_text = drop(self.batch, generator)
        no_text[:plain] = torch.rand(plain, generator=generator) < NO_WORDS
        with mixed(self.device):
            shown.references = [
                project(self.adapters[variant], each, no_image, lesson.nothing, self.device) for each in references
            ]
            tokens = self.denoiser.words(word_numbers(words, no_text).to(self.device))
            steps, options = steps.float().to(self.device), shown.options.copy()
            predicted = self.denoiser.unet(noised.to(self.device), steps, tokens, transformer_options=options)
        return mse_loss(predicted.float(), wanted.to(self.device))

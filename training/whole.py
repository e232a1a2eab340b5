"""Train the models on whole drawings: from noise in a few steps, with the gradient through all steps.

Removing noise teaches little about textures: at the steps where a texture is decided, noise hides the picture, and at
later steps the picture itself contains the texture. So the models draw, critics classify the texture of the drawing,
and the gradient reaches every step (DRaFT: Clark et al. 2023, arXiv:2309.17400). Masks are trained in the same way:
inside of a mask the drawing should equal a drawing without the mask, outside a drawing without the reference.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from demo_models.autoencoder import Autoencoder
from ipadapter.adapter import AdapterNetwork
from ipadapter.sites import find_sites

from .adapter import Reference, Shown
from .lessons import Lessons, compare
from .loop import Curve, Plan, mixed, pick, train, update_mean
from .together import Denoising, Trio
from .unet import Denoiser, Noise, word_numbers

PLAN = Plan(steps=2200, batch=192, rate=1e-3, seed=13, average=0.995)  # almost an hour of an H200, a day of a CPU
STEPS = 6
LEAST = 0.7  # weight of a reference
FOLLOWING, MASKED = 0.5, 0.25  # drawings of a step, as shares of the plan's batch
DENOISING, MASK = 1.0, 0.7  # weights of parts of the loss; the weights of `compare` are in lessons.py
# Share of the change of weights in the result. With the full change, textures are followed more often, but masks and
# palettes are less exact; a mean of the weights before and after is better (Wortsman et al. 2022, arXiv:2109.01903).
SHARE = 0.35


class Drawing:
    """Draws with an adapter, in a few steps of DDIM (Song et al. 2021, arXiv:2010.02502) without guidance."""

    def __init__(self, denoiser: Denoiser, adapter: AdapterNetwork, device: str) -> None:
        self.denoiser, self.device, noise = denoiser, device, Noise()
        self.shown = Shown(adapter, find_sites(denoiser.unet))
        self.signal, self.noise = noise.signal.to(device), noise.noise.to(device)

    def __call__(self, latents: Tensor, words: Tensor, steps: Tensor, references: list[Reference]) -> Tensor:
        """Latents drawn from noise (n, 8, h, w) and words (n,); `steps` falls from the schedule's last step."""
        numbers = word_numbers(words, torch.zeros(len(words), dtype=torch.bool)).to(self.device)
        for now, then in zip(steps, [*steps[1:], None], strict=True):
            predicted = self._predict(latents, numbers, now, references)
            signal, noise = self.signal[now], self.noise[now]
            clean, left = signal * latents - noise * predicted, noise * latents + signal * predicted
            latents = clean if then is None else self.signal[then] * clean + self.noise[then] * left
        return latents

    def _predict(self, latents: Tensor, numbers: Tensor, step: Tensor, references: list[Reference]) -> Tensor:
        self.shown.references = references
        with mixed(self.device):
            tokens, options = self.denoiser.words(numbers), self.shown.options.copy()
            steps = step.float().to(self.device).expand(len(latents))
            return self.denoiser.unet(latents, steps, tokens, transformer_options=options).float()


def train_whole(
    trio: Trio,
    lessons: Lessons,
    autoencoder: Autoencoder,
    plan: Plan = PLAN,
    device: str = "cpu",
    checkpoint: Path | None = None,
) -> Curve:
    """Train the three models in place, on drawings with the plus adapter and on noise removal with both adapters."""
    trio.to(device).requires_grad_(True).train()
    before = copy.deepcopy(trio)
    for frozen in (autoencoder, *lessons.critics.textures, *lessons.critics.words):
        frozen.to(device).eval().requires_grad_(False)
    drawing, denoising = (
        Drawing(trio.denoiser, trio.plus, device),
        Denoising(trio, lessons.examples, plan.batch, device),
    )
    following, masked = (max(2, round(share * plan.batch)) for share in (FOLLOWING, MASKED))

    def loss(generator: torch.Generator) -> Tensor:
        batch = draw_batch(lessons, following, masked, generator)
        with mixed(device):
            tokens = trio.plus.project(batch.features.to(device))
        masks = batch.masks.to(device)
        made = drawing(batch.noise.to(device), batch.words, batch.steps, [Reference(tokens, masks)])
        with torch.no_grad():
            plain = drawing(batch.noise[:masked].to(device), batch.words[:masked], batch.steps, [])
        wanted = plain.lerp(made[masked : 2 * masked].detach(), batch.where[:, None].to(device))
        with mixed(device):
            pictures = autoencoder.decode(made[masked:]).float() / 2 + 0.5
        return (
            DENOISING * denoising(generator)
            + MASK * mse_loss(made[:masked], wanted)
            + compare(pictures, lessons, batch.styles[masked:], batch.words[masked:], generator)
        )

    curve = train("whole drawings", trio, plan, loss, checkpoint)
    update_mean(trio.parameters(), before.parameters(), SHARE)
    return curve


@dataclass
class Batch:
    """Drawings to make: first with masked references, then with whole references; the first drawings of both parts have
    the same noise, word and style.
    """

    noise: Tensor
    words: Tensor
    steps: Tensor
    styles: Tensor
    features: Tensor
    masks: Tensor
    where: Tensor  # (masked, h, w) the masks of the first, before their weights


def draw_batch(lessons: Lessons, following: int, masked: int, generator: torch.Generator) -> Batch:
    """A batch of `masked` drawings with masked references and `following` drawings with whole references."""
    examples = lessons.examples["plus"]
    parts = pick(len(examples.split["words"]), masked, generator)
    where = examples.split["where"][parts].float()
    styles = pick(len(examples.whole["words"]), following, generator)
    styles[:masked] = examples.split["pairs"][parts, 0]
    noise = torch.randn(following, *examples.whole["latents"].shape[1:], generator=generator)
    words = examples.whole["words"][styles]  # the word of the picture in this style
    weights = LEAST + (1 - LEAST) * torch.rand(following, 1, 1, generator=generator)
    whole = weights.expand(-1, *where.shape[1:])
    twice = torch.cat((torch.arange(masked), torch.arange(following)))
    return Batch(
        noise[twice],
        words[twice],
        draw_steps(generator),
        styles[twice],
        examples.features[styles[twice]].float(),
        torch.cat((where * whole[:masked], whole)),
        where,
    )


def draw_steps(generator: torch.Generator) -> Tensor:
    """STEPS falling steps of the schedule: the last step of the schedule, then random steps."""
    last = len(Noise().signal) - 1
    moved = torch.arange(STEPS) + 0.6 * (torch.rand(STEPS, generator=generator) - 0.5)
    moved[0] = 0
    return (last * (1 - moved / STEPS)).long()

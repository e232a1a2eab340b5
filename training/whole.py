"""Let the models learn from whole drawings: from noise in a few steps, through all of which the gradient flows.

Removing noise teaches little about textures. Where a texture is decided nothing of the picture can be seen yet, and
where it can be seen no reference is needed. So the models draw, critics say which texture came out, and every step is
told (DRaFT: Clark et al. 2023, arXiv:2309.17400). What a mask does is taught in the same way: inside of it a drawing is
what it would be without the mask, outside what it would be without the reference.
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

PLAN = Plan(steps=2200, batch=192, rate=1e-3, seed=13, average=0.995)  # most of an hour of an H200, a day of a CPU
STEPS = 6
LEAST = 0.7  # weight of a reference
FOLLOWING, MASKED = 0.5, 0.25  # drawings of a step, as shares of the plan's batch
DENOISING, MASK = 1.0, 0.7  # what the parts of the loss weigh, beside those that compare drawings (lessons.py)
# How far the weights go towards what was learned. All the way, textures follow more often, and masks and palettes less
# well; a mean of the weights before and after keeps more of both (Wortsman et al. 2022, arXiv:2109.01903).
SHARE = 0.35


class Drawing:
    """Draws with one adapter, in a few steps of DDIM (Song et al. 2021, arXiv:2010.02502) without guidance."""

    def __init__(self, denoiser: Denoiser, adapter: AdapterNetwork, device: str) -> None:
        self.denoiser, self.device, noise = denoiser, device, Noise()
        self.shown = Shown(adapter, find_sites(denoiser.unet))
        self.signal, self.noise = noise.signal.to(device), noise.noise.to(device)

    def __call__(self, latents: Tensor, words: Tensor, steps: Tensor, references: list[Reference]) -> Tensor:
        """Pure noise (n, 8, h, w) and words (n,) to latents; `steps` falls from the schedule's last."""
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
    """All that draws, in place; beside drawings with the plus adapter it goes on to remove noise with both."""
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
    """Drawings to make: first those of masked references, then those of whole ones, of which the first are the same."""

    noise: Tensor
    words: Tensor
    steps: Tensor
    styles: Tensor
    features: Tensor
    masks: Tensor
    where: Tensor  # (masked, h, w) the masks of the first, before their weights


def draw_batch(lessons: Lessons, following: int, masked: int, generator: torch.Generator) -> Batch:
    """Noise, words, steps and styles of one batch; the first `masked` of the whole ones are the masked ones' twins."""
    examples = lessons.examples["plus"]
    parts = pick(len(examples.split["words"]), masked, generator)
    where = examples.split["where"][parts].float()
    styles = pick(len(examples.whole["words"]), following, generator)
    styles[:masked] = examples.split["pairs"][parts, 0]
    noise = torch.randn(following, *examples.whole["latents"].shape[1:], generator=generator)
    words = examples.whole["words"][styles]  # of which there is a picture in this style
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
    """STEPS steps of the schedule from its last on, the others not always the same."""
    last = len(Noise().signal) - 1
    moved = torch.arange(STEPS) + 0.6 * (torch.rand(STEPS, generator=generator) - 0.5)
    moved[0] = 0
    return (last * (1 - moved / STEPS)).long()

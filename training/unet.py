"""Train the UNet and the word vectors: words to pictures, by removing noise (arXiv:2006.11239, v as in 2202.00512)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from demo_models.config import NOISE, UNET
from demo_models.words import WordEmbedding, pad

from .loop import Curve, Plan, mixed, pick, train

PLAN = Plan(steps=6000, batch=64, rate=1.5e-3, seed=3, average=0.998)
NO_WORDS = 0.1  # share of pictures whose word is dropped, for classifier-free guidance (arXiv:2207.12598)


class Denoiser(nn.Module):
    """ComfyUI's UNet and the words' vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = new_unet()
        self.words = WordEmbedding()
        for embedding in (self.words.words, self.words.positions):
            nn.init.normal_(embedding.weight, std=0.5)


def new_unet() -> Any:
    """A UNet of ComfyUI's own class with new weights; each untrained block is an identity."""
    from comfy import ops
    from comfy.ldm.modules.attention import SpatialTransformer
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel

    unet: Any = UNetModel(**UNET, dtype=torch.float32, operations=ops.disable_weight_init)
    for module in unet.modules():
        for kind in (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm):  # ComfyUI's classes do not initialise weights
            if isinstance(module, kind):
                kind.reset_parameters(module)  # type: ignore[arg-type]
    for module in unet.modules():
        if isinstance(module, ResBlock):
            silence(module.out_layers[-1])
        elif isinstance(module, SpatialTransformer):
            silence(module.proj_out)
    silence(unet.out[-1])
    return unet


@torch.no_grad()
def silence(layer: Any) -> None:
    layer.weight.zero_()
    layer.bias.zero_()


class Noise:
    """The noise schedule: at step t a picture is signal[t] * latents + noise[t] * noise."""

    def __init__(self) -> None:
        from comfy.ldm.modules.diffusionmodules.util import make_beta_schedule  # the function that ComfyUI samples with

        start, end = NOISE["linear_start"], NOISE["linear_end"]
        betas = make_beta_schedule(NOISE["beta_schedule"], NOISE["timesteps"], start, end)
        kept = torch.cumprod(1 - betas, dim=0)
        self.signal, self.noise = kept.sqrt().float(), (1 - kept).sqrt().float()

    def add(self, latents: Tensor, generator: torch.Generator, noisy: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Noised latents, the v to predict, and the steps (n,); `noisy` draws steps with much noise more often."""
        if noisy:
            share = torch.rand(len(latents), generator=generator).sqrt()
            steps = (len(self.signal) * share).long().clamp_max(len(self.signal) - 1)
        else:
            steps = torch.randint(len(self.signal), (len(latents),), generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        signal, amount = self.signal[steps][:, None, None, None], self.noise[steps][:, None, None, None]
        return signal * latents + amount * noise, signal * noise - amount * latents, steps


def word_numbers(words: Tensor, dropped: Tensor) -> Tensor:
    """Padded word numbers (n, 4) of words (n,); those of an empty prompt for dropped words."""
    none = pad([])
    rows = torch.stack([pad([int(word)]) for word in words])
    return torch.where(dropped[:, None], none, rows)


def train_unet(
    latents: Tensor, words: Tensor, plan: Plan = PLAN, device: str = "cpu", checkpoint: Path | None = None
) -> tuple[Denoiser, Curve]:
    """A denoiser trained on latents (n, 8, h, w) with the word of each picture, (n,)."""
    torch.manual_seed(plan.seed)
    model, noise = Denoiser().to(device), Noise()

    def loss(generator: torch.Generator) -> Tensor:
        rows = pick(len(latents), plan.batch, generator)
        noised, wanted, steps = noise.add(latents[rows].float(), generator)
        dropped = torch.rand(plan.batch, generator=generator) < NO_WORDS
        with mixed(device):
            tokens = model.words(word_numbers(words[rows], dropped).to(device))
            predicted = model.unet(noised.to(device), steps.float().to(device), tokens)
        return mse_loss(predicted.float(), wanted.to(device))

    return model, train("UNet", model, plan, loss, checkpoint)

"""Train the autoencoder to reconstruct pictures from latents with a little noise."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from demo_models.autoencoder import Autoencoder

from .data import as_floats
from .loop import Curve, Plan, mixed, pick, train

NOISE = 0.05  # on latents of deviation 1: the noise that remains after sampling must not be visible
PLAN = Plan(steps=5000, batch=48, rate=2e-3, seed=1, average=0.995)


def train_autoencoder(
    pictures: Tensor, plan: Plan = PLAN, device: str = "cpu", checkpoint: Path | None = None
) -> tuple[Autoencoder, Curve]:
    """An autoencoder of pictures (n, 3, h, w) in bytes, its latents scaled to mean 0 and deviation 1 per channel."""
    torch.manual_seed(plan.seed)
    model = Autoencoder().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(generator: torch.Generator) -> Tensor:
        batch = as_floats(pictures[pick(len(pictures), plan.batch, generator)].to(device))
        with mixed(device):
            latents = model.encode(batch)
            noise = torch.randn(latents.shape, generator=generator).to(device)
            made = model.decode(latents + NOISE * noise).float()
        wide = latents.float()
        spread = (wide.mean((0, 2, 3)) ** 2 + (wide.std((0, 2, 3)) - 1) ** 2).mean()
        return l1_loss(made, batch) + edges(made, batch) + 0.1 * spread

    curve = train("autoencoder", model, plan, loss, checkpoint)
    standardise(model, as_floats(pictures[:2048].to(device)))
    return model, curve


def edges(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean error of the differences between neighbouring pixels, which penalises blurred edges."""
    difference = made - wanted
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


@torch.no_grad()
def standardise(model: Autoencoder, pictures: Tensor) -> None:
    """Fold the latents' mean and deviation into the layers around them."""
    latents = model.encode(pictures)
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    out, into = model.encoder[-1], model.decoder[0]
    assert isinstance(out, torch.nn.Conv2d) and isinstance(into, torch.nn.Conv2d)
    assert out.bias is not None
    out.weight.div_(deviation[:, None, None, None])
    out.bias.sub_(mean).div_(deviation)
    # The convolution pads with zeros, which are not the latents' mean; but the loss pulls the mean towards 0.
    assert into.bias is not None
    into.bias.add_(into.weight.sum((2, 3)) @ mean)
    into.weight.mul_(deviation[None, :, None, None])

"""Critics classify the texture and the word of a drawing, for a loss. The judges that measure are other networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from demo_models.autoencoder import PATCH, Autoencoder

from .judges import Classifier
from .loop import Curve, Plan, mixed, pick, train, train_rounds
from .vision import recolour

NOISE = 0.5  # at most, on latents of deviation 1
MIXED_IN = 0.3  # at most, of another picture's latents


@dataclass(frozen=True)
class Round:
    """A part of the training; `unclear` is the share of pictures that are blurred like drawings of few steps."""

    plan: Plan
    unclear: float


def rounds(seed: int) -> Sequence[Round]:
    return (
        Round(Plan(steps=2500, batch=96, rate=3e-3, seed=seed, average=0.99), unclear=0),
        Round(Plan(steps=480, batch=64, rate=1.5e-3, seed=seed + 10, average=0.98), unclear=0.5),
    )


TEXTURE_SEEDS, WORD_SEEDS = (14, 15), (24, 25)  # two critics of each kind: a drawing has to convince both


def train_critic(
    pictures: Tensor,
    answers: Tensor,
    kinds: int,
    autoencoder: Autoencoder,
    rounds: Sequence[Round],
    device: str = "cpu",
    checkpoint: Path | None = None,
) -> tuple[Classifier, Curve]:
    """A classifier of pictures (n, 3, h, w) in bytes that is trained on unclear pictures too.

    A classifier that was trained on clear pictures only gives confident wrong answers for bad drawings.
    """
    torch.manual_seed(rounds[0].plan.seed)
    model, autoencoder = Classifier(kinds).to(device), autoencoder.to(device).eval().requires_grad_(False)
    name = f"critic {rounds[0].plan.seed}"

    def train_round(one: Round, file: Path | None) -> Curve:
        def loss(generator: torch.Generator) -> Tensor:
            rows = pick(len(answers), one.plan.batch, generator)
            shown, _ = recolour(pictures[rows] / 255, torch.zeros(len(rows), 3, 3), generator)
            shown, unclear = shown.to(device), round(one.unclear * len(rows))
            if unclear:
                shown = torch.cat((shown[unclear:], blur(shown[:unclear], autoencoder, generator).to(shown)))
                rows = rows.roll(-unclear)
            with mixed(device):
                said = model(shown)
            return cross_entropy(said.float(), answers[rows].to(device))

        return train(name, model, one.plan, loss, file)

    return model, train_rounds(name, rounds, train_round, checkpoint)


@torch.no_grad()
def blur(pictures: Tensor, autoencoder: Autoencoder, generator: torch.Generator) -> Tensor:
    """Pictures (n, 3, h, w) in 0..1, decoded from latents to which noise and a part of another picture were added."""
    rows, sides = len(pictures), [side // PATCH for side in pictures.shape[2:]]
    noise = torch.randn(rows, 8, *sides, generator=generator).to(pictures)
    amount, share = torch.rand(2, rows, 1, 1, 1, generator=generator).to(pictures)
    latents = autoencoder.encode(pictures * 2 - 1)
    latents = latents.lerp(latents.roll(1, 0), (MIXED_IN * share).to(latents))
    return autoencoder.decode(latents + (NOISE * amount * noise).to(latents)) / 2 + 0.5

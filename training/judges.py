"""Judges of drawings: the distance from a palette, classifiers of words and textures, the distance of two sets."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from demo_models.words import WORDS

from .loop import Curve, Plan, mixed, pick, train
from .palettes import to_oklab
from .textures import HELD_OUT, TEXTURES
from .vision import recolour

PRESENT = 0.04  # share of a picture that a colour must cover to count as present
PLAN = Plan(steps=2500, batch=128, rate=3e-3, seed=6, average=0.99)
TEXTURES_PLAN = Plan(steps=1500, batch=96, rate=3e-3, seed=9, average=0.99)
ALL_TEXTURES = (*TEXTURES, *HELD_OUT)  # a judge is trained on the held-out textures too


def palette_distance(picture: Tensor, palettes: Tensor, where: Tensor | None = None) -> Tensor:
    """Distances (n,) in OKLab between a picture (3, h, w) and palettes (n, colours, 3), all sRGB in 0..1.

    A distance is the mean distance from pixels to the nearest colour, plus the mean distance from colours to the
    nearest pixels, so that a palette of many colours is no nearer than the right one. `where` (h, w) selects pixels.
    """
    pixels = picture.flatten(1).T if where is None else picture[:, where].T
    apart = torch.cdist(to_oklab(pixels), to_oklab(palettes))  # (n, pixels, colours)
    nearest = max(1, round(PRESENT * len(pixels)))
    missing = apart.kthvalue(nearest, dim=1).values
    return apart.amin(-1).mean(-1) + missing.mean(-1)


class Classifier(nn.Module):
    """Classifies pictures (n, 3, 96, 96) in 0..1 by word or by texture: logits (n, answers)."""

    def __init__(self, answers: int = len(WORDS)) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 96)
        layers: list[nn.Module] = []
        for into, out in zip(widths, widths[1:]):  # noqa: B905 (pairs of neighbours)
            layers += [
                nn.Conv2d(into, out, 5 if into == 3 else 3, stride=2, padding=1),
                nn.GroupNorm(8, out),
                nn.GELU(),
            ]
        self.features = nn.Sequential(*layers, nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.GELU())
        self.head = nn.Linear(widths[-1], answers)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.seen(pictures))

    def seen(self, pictures: Tensor) -> Tensor:
        """The features that the last layer reads, (n, 96)."""
        return self.features(pictures * 2 - 1).mean((2, 3))


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """The Fréchet distance of two sets of features (n, d) as Gaussians (Heusel et al. 2017, arXiv:1706.08500).

    It is above 0 for two samples of the same distribution too, and larger for smaller sets: compare sets of equal size.
    """
    (mean, cov), (mean2, cov2) = ((x.double().mean(0), torch.cov(x.double().T)) for x in (one, other))
    both = torch.linalg.eigvals(cov @ cov2).real.clamp_min(0).sqrt().sum()
    return float(((mean - mean2) ** 2).sum() + cov.trace() + cov2.trace() - 2 * both)


def train_classifier(
    pictures: Tensor,
    answers: Tensor,
    plan: Plan,
    device: str = "cpu",
    checkpoint: Path | None = None,
    name: str = "classifier",
    kinds: int = len(WORDS),
) -> tuple[Classifier, Curve]:
    """A classifier of pictures (n, 3, h, w) in bytes whose answers (n,) are numbers below `kinds`."""
    torch.manual_seed(plan.seed)
    model = Classifier(kinds).to(device)

    def loss(generator: torch.Generator) -> Tensor:
        rows = pick(len(answers), plan.batch, generator)
        shown, _ = recolour(pictures[rows] / 255, torch.zeros(plan.batch, 3, 3), generator)
        with mixed(device):
            said = model(shown.to(device))
        return cross_entropy(said.float(), answers[rows].to(device))

    return model, train(name, model, plan, loss, checkpoint)

"""Two judges of what the models draw: how far a picture is from a palette, and which content it shows."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from demo_models.words import WORDS

from .loop import Curve, Plan, mixed, pick, train
from .palettes import to_oklab
from .vision import recolour

PRESENT = 0.04  # share of a picture that a colour must have to count as there
PLAN = Plan(steps=2500, batch=128, rate=3e-3, seed=6, average=0.99)


def palette_distance(picture: Tensor, palettes: Tensor, where: Tensor | None = None) -> Tensor:
    """How far a picture (3, h, w) is from palettes (n, colours, 3), all sRGB in 0..1; (n,) distances in OKLab.

    Both ways: how far pixels are from the nearest colour on average, and how far colours are from the pixels that
    come nearest, so that a palette of everything is no nearer than the right one. `where` (h, w) picks pixels.
    """
    pixels = picture.flatten(1).T if where is None else picture[:, where].T
    apart = torch.cdist(to_oklab(pixels), to_oklab(palettes))  # (n, pixels, colours)
    nearest = max(1, round(PRESENT * len(pixels)))
    missing = apart.kthvalue(nearest, dim=1).values
    return apart.amin(-1).mean(-1) + missing.mean(-1)


class Classifier(nn.Module):
    """Which word a picture (n, 3, 96, 96) in 0..1 shows: (n, words)."""

    def __init__(self) -> None:
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
        self.head = nn.Linear(widths[-1], len(WORDS))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.features(pictures * 2 - 1).mean((2, 3)))


def train_classifier(
    pictures: Tensor, words: Tensor, plan: Plan = PLAN, device: str = "cpu"
) -> tuple[Classifier, Curve]:
    """A classifier of pictures (n, 3, h, w) in bytes that show the words (n,)."""
    torch.manual_seed(plan.seed)
    model = Classifier().to(device)

    def loss(generator: torch.Generator) -> Tensor:
        rows = pick(len(words), plan.batch, generator)
        shown, _ = recolour(pictures[rows] / 255, torch.zeros(plan.batch, 3, 3), generator)
        with mixed(device):
            said = model(shown.to(device))
        return cross_entropy(said.float(), words[rows].to(device))

    return model, train("classifier", model, plan, loss)

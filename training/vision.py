"""Train the vision encoder: from a picture to its palette, its texture and its content."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from demo_models.config import VISION
from demo_models.words import WORDS

from .data import Drawn
from .loop import Curve, Plan, mixed, pick, train
from .palettes import to_oklab
from .textures import TEXTURES

PLAN = Plan(steps=3000, batch=128, rate=1.5e-3, seed=2, average=0.99)
MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073))  # CLIP's (arXiv:2103.00020), as ComfyUI normalises pictures
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711])  # of CLIP (arXiv:2103.00020)


class Questions(nn.Module):
    """A vision encoder with heads on its pooled embeds: three colours in OKLab, the texture, the content."""

    def __init__(self, vision: nn.Module) -> None:
        super().__init__()
        self.vision = vision
        width = VISION["projection_dim"]
        assert isinstance(width, int)
        self.palette = nn.Linear(width, 9)
        self.texture = nn.Linear(width, len(TEXTURES))
        self.content = nn.Linear(width, len(WORDS))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embeds = self.vision(normalise(pictures)).image_embeds
        return self.palette(embeds).unflatten(-1, (3, 3)), self.texture(embeds), self.content(embeds)


def normalise(pictures: Tensor) -> Tensor:
    """Pictures (n, 3, h, w) in 0..1, normalised as the encoder requires."""
    return (pictures - MEAN.to(pictures)[:, None, None]) / DEVIATION.to(pictures)[:, None, None]


def new_encoder() -> Any:
    """An encoder of transformers, since ComfyUI's own class cannot be trained; ComfyUI's loader reads its names."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = {key: value for key, value in VISION.items() if key != "model_type"}
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**config))  # type: ignore[arg-type]


def recolour(pictures: Tensor, palettes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Swap and invert the colour channels of pictures (n, 3, h, w) and palettes (n, 3, 3) alike: 48 times the data."""
    rows = len(pictures)
    order = torch.rand(rows, 3, generator=generator).argsort(-1)
    invert = torch.rand(rows, 3, generator=generator) < 0.5
    pictures = pictures[torch.arange(rows)[:, None], order]
    palettes = palettes.gather(-1, order[:, None].expand(-1, 3, -1))
    return (
        torch.where(invert[:, :, None, None], 1 - pictures, pictures),
        torch.where(invert[:, None], 1 - palettes, palettes),
    )


def train_vision(
    drawn: Drawn, plan: Plan = PLAN, device: str = "cpu", checkpoint: Path | None = None
) -> tuple[Any, Curve]:
    """A vision encoder, trained on both pictures of every style."""
    torch.manual_seed(plan.seed)
    model = Questions(new_encoder()).to(device)
    names = list(TEXTURES)
    textures = torch.tensor([names.index(name) for name in drawn.styles.textures])

    def loss(generator: torch.Generator) -> Tensor:
        rows = pick(len(drawn), plan.batch, generator)
        second = torch.rand(plan.batch, generator=generator) < 0.5
        pictures = torch.where(second[:, None, None, None], drawn.others[rows], drawn.pictures[rows]) / 255
        words = torch.where(second, drawn.other_words[rows], drawn.words[rows])
        pictures, palettes = recolour(pictures, drawn.styles.palettes[rows], generator)
        with mixed(device):
            palette, texture, content = (answer.float().cpu() for answer in model(pictures.to(device)))
        colours = (palette - to_oklab(palettes)).norm(dim=-1).mean()
        texture_loss = cross_entropy(texture, textures[rows])
        return 8 * colours + 0.25 * (texture_loss + cross_entropy(content, words))

    curve = train("vision encoder", model, plan, loss, checkpoint)
    return model, curve

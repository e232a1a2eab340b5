"""Judges of pictures: shares that are right, in percent, and distances."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from demo.studio import Studio
from demo_models.words import WORDS
from harness.host import ROOT
from training.data import draw_textures
from training.files import read
from training.judges import ALL_TEXTURES, Classifier, frechet_distance, palette_distance
from training.pictures import Styles, draw_picture, draw_set
from training.textures import HELD_OUT

CHOICES = 8  # palettes a picture is compared with, the right one among them
SEED = 17  # of pictures that are drawn to compare with


class Judges:
    """What pictures of a studio show."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.contents = load("classifier", len(WORDS))
        self.textures = load("textures", len(ALL_TEXTURES))

    def nearest(self, pictures: Tensor, palettes: Tensor, where: Tensor | None = None) -> Tensor:
        """Whether each picture is nearer to its palette than to seven others of the held-out set: (n,) bools."""
        generator = torch.Generator().manual_seed(0)  # the same seven for every set of pictures
        pairs = zip(pictures, palettes, strict=True)
        return torch.tensor([self._nearest(*pair, where, generator) for pair in pairs])

    def _nearest(self, picture: Tensor, palette: Tensor, where: Tensor | None, generator: torch.Generator) -> bool:
        known = self.studio.drawn.styles.palettes
        others = known[torch.randperm(len(known), generator=generator)]
        others = others[(others != palette).flatten(1).any(1)][: CHOICES - 1]
        return int(palette_distance(picture, torch.cat((palette[None], others)), where).argmin()) == 0

    def distance(self, pictures: Tensor, palettes: Tensor) -> float:
        pairs = zip(pictures, palettes, strict=True)
        return round(float(np.mean([float(palette_distance(picture, palette[None])) for picture, palette in pairs])), 4)

    @torch.no_grad()
    def right_content(self, pictures: Tensor, words: Tensor) -> float:
        return percent(self.contents(pictures).argmax(-1) == words)

    @torch.no_grad()
    def right_texture(self, pictures: Tensor, names: Sequence[str]) -> dict[str, float]:
        """Of all pictures, and of those whose texture training showed, or never showed."""
        said = self.textures(pictures).argmax(-1).tolist()
        right = torch.tensor([ALL_TEXTURES[number] == name for number, name in zip(said, names, strict=True)])
        new = torch.tensor([name in HELD_OUT for name in names])
        return {"all": percent(right), "shown in training": percent(right[~new]), "new": percent(right[new])}

    def right_texture_of_drawn(self, count: int = 400) -> float:
        pictures, numbers = draw_textures(ALL_TEXTURES, count, SEED)
        return self.right_texture(pictures / 255, [ALL_TEXTURES[number] for number in numbers])["all"]

    @cached_property
    def drawn_twice(self) -> tuple[Tensor, Tensor]:
        """Features of what the pictures should be, drawn by the program, and of the same drawn once more."""
        studio = self.studio
        styles = Styles(studio.palettes, studio.textures)
        words = [WORDS[number] for number in studio.words]
        sets = [
            draw_set(len(words), SEED + i, lambda row, rng: draw_picture(words[row], styles, row, rng))
            for i in range(2)
        ]
        return self._features(sets[0] / 255), self._features(sets[1] / 255)

    def from_clean(self, pictures: Tensor) -> float:
        """How far pictures are from drawn ones of the same words and styles, as a multiple of the floor."""
        return round(frechet_distance(self._features(pictures), self.drawn_twice[0]) / self.floor, 2)

    @property
    def floor(self) -> float:
        """How far two sets of drawn pictures are from each other."""
        return frechet_distance(*self.drawn_twice)

    @torch.no_grad()
    def _features(self, pictures: Tensor) -> Tensor:
        return self.contents.seen(pictures)


def load(name: str, answers: int) -> Classifier:
    classifier = Classifier(answers)
    classifier.load_state_dict(read(ROOT / "demo_models" / f"{name}.safetensors"))
    return classifier


def percent(right: Tensor) -> float:
    return round(100 * float(right.float().mean()), 1)


def palette_of(picture: Tensor, where: Tensor | None = None) -> Tensor:
    """The three colours that stand for a picture or a part of it, (3, 3) in sRGB, by Pillow's k-means."""
    part = picture.flatten(1) if where is None else picture[:, where]
    pixels = (part.T * 255).round().byte().numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels[None])).quantize(3, kmeans=8)
    colours = np.array(image.getpalette(), dtype=np.float32).reshape(-1, 3)[:3] / 255
    return torch.from_numpy(np.resize(colours, (3, 3)))

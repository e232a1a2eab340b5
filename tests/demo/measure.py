"""What pictures of the demo models follow: drawn through a ComfyUI server, 200 of each kind, judged by two judges.

All references are in styles that no model was trained on. Every picture shows another content than its reference.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from demo_models.words import WORDS
from harness.client import Client
from harness.demo_graph import APPLY, SIZE, half_mask, sample
from harness.graph import Graph, Link, Node
from harness.host import ROOT
from training.data import draw_held_out
from training.files import read
from training.judges import Classifier, palette_distance

EACH = 20  # pictures per word
CHOICES = 8  # palettes a picture is compared with, the right one among them
STEPS = 10
LEFT, RIGHT = (torch.arange(SIZE) < SIZE // 2).expand(SIZE, -1), (torch.arange(SIZE) >= SIZE // 2).expand(SIZE, -1)
Wire = Callable[[Graph, Node, list[Link]], Link]  # graph, models and references to the model to sample with


def plain(g: Graph, models: Node, references: list[Link]) -> Link:
    return models[0]


def following(weight: float = 0.8, half: str | None = None) -> Wire:
    """One picture of a batch for each picture of the canvas."""

    def wire(g: Graph, models: Node, references: list[Link]) -> Link:
        return _apply(g, models, models[0], references[0], weight, half)

    return wire


def two_halves(g: Graph, models: Node, references: list[Link]) -> Link:
    first = _apply(g, models, models[0], references[0], 0.8, "left")
    return _apply(g, models, first, references[1], 0.8, "right")


def _apply(g: Graph, models: Node, model: Link, image: Link, weight: float, half: str | None) -> Link:
    inputs: dict[str, Any] = {"model": model, "ipadapter": models[2], "clip_vision": models[1], "image": image}
    settings = {key: value for key, value in APPLY.items() if key != "combine_embeds"}
    if half:
        inputs["attn_mask"] = half_mask(g, half)[0]
    return g.add("IPAdapterBatch", **settings | inputs | {"weight": weight, "encode_batch_size": 0})[0]


@dataclass(frozen=True)
class Group:
    """A word, the held-out pictures whose style it is drawn in, and the next word's, for the other half."""

    word: str
    rows: Tensor  # (EACH,)
    others: Tensor


@dataclass
class Studio:
    """Servers to draw on side by side, and the held-out styles."""

    servers: Sequence[Client]
    steps: int = STEPS
    drawn: Any = field(default_factory=draw_held_out)

    @cached_property
    def groups(self) -> list[Group]:
        free, rows = list(range(len(self.drawn))), []
        for number in range(len(WORDS)):
            rows.append([row for row in free if self.drawn.words[row] != number][:EACH])
            free = [row for row in free if row not in rows[-1]]
        pairs = zip(WORDS, rows, rows[1:] + rows[:1], strict=True)
        return [Group(word, torch.tensor(own), torch.tensor(next_)) for word, own, next_ in pairs]

    def draw(self, wire: Wire, adapter: str = "standard") -> Tensor:
        """Pictures (200, 3, SIZE, SIZE) in 0..1, in the order of `groups`."""
        places = [self.servers[i % len(self.servers)] for i in range(len(self.groups))]
        with ThreadPoolExecutor(len(self.servers)) as pool:
            made = pool.map(lambda group, server: self._draw_group(server, group, wire, adapter), self.groups, places)
            return torch.cat(list(made))

    def _draw_group(self, server: Client, group: Group, wire: Wire, adapter: str) -> Tensor:
        g = Graph()
        models = g.add("IPAdapterDemoLoader", adapter=adapter)
        references = [g.add("LoadImage", image=self._frames(server, rows))[0] for rows in (group.rows, group.others)]
        model = wire(g, models, references)
        pictures = sample(g, models, model, group.word, seed=5, batch=len(group.rows), steps=self.steps)
        saved = g.add("PreviewImage", images=pictures[0])
        made = server.run(g).images(saved.id)
        return torch.stack([torch.from_numpy(np.array(one.convert("RGB"))) for one in made]).movedim(-1, 1) / 255

    def _frames(self, server: Client, rows: Tensor) -> str:
        """The references as frames of one PNG, which Load Image makes a batch of."""
        name = f"held out {int(rows[0])}.png"
        file = server.output.parent / "input" / name
        if not file.exists():
            frames = [Image.fromarray(self.drawn.pictures[row].movedim(0, -1).numpy()) for row in rows]
            frames[0].save(file, save_all=True, append_images=frames[1:])
        return name

    @property
    def palettes(self) -> Tensor:
        """The palette to follow of every picture, (200, 3, 3), sRGB."""
        return self.drawn.styles.palettes[torch.cat([group.rows for group in self.groups])]

    @property
    def other_palettes(self) -> Tensor:
        return self.drawn.styles.palettes[torch.cat([group.others for group in self.groups])]

    @property
    def words(self) -> Tensor:
        return torch.arange(len(WORDS)).repeat_interleave(EACH)


class Judges:
    """Shares of pictures that are right, in percent."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.classifier = Classifier()
        self.classifier.load_state_dict(read(ROOT / "demo_models" / "classifier.safetensors"))
        self.generator = torch.Generator().manual_seed(0)

    def nearest(self, pictures: Tensor, palettes: Tensor, where: Tensor | None = None) -> Tensor:
        """Whether each picture is nearer to its palette than to seven others of the held-out set: (n,) bools."""
        return torch.tensor([self._nearest(*pair, where) for pair in zip(pictures, palettes, strict=True)])

    def _nearest(self, picture: Tensor, palette: Tensor, where: Tensor | None) -> bool:
        known = self.studio.drawn.styles.palettes
        others = known[torch.randperm(len(known), generator=self.generator)]
        others = others[(others != palette).flatten(1).any(1)][: CHOICES - 1]
        return int(palette_distance(picture, torch.cat((palette[None], others)), where).argmin()) == 0

    def distance(self, pictures: Tensor, palettes: Tensor) -> float:
        pairs = zip(pictures, palettes, strict=True)
        return float(np.mean([float(palette_distance(picture, palette[None])) for picture, palette in pairs]))

    @torch.no_grad()
    def right_content(self, pictures: Tensor, words: Tensor) -> float:
        return percent(self.classifier(pictures).argmax(-1) == words)


def percent(right: Tensor) -> float:
    return round(100 * float(right.float().mean()), 1)


def palette_of(picture: Tensor, where: Tensor) -> Tensor:
    """The three colours that stand for a part of a picture, (3, 3) in sRGB, by Pillow's k-means."""
    pixels = (picture[:, where].T * 255).round().byte().numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels[None])).quantize(3, kmeans=8)
    colours = np.array(image.getpalette(), dtype=np.float32).reshape(-1, 3)[:3] / 255
    return torch.from_numpy(np.resize(colours, (3, 3)))


def measure(studio: Studio, weights: tuple[float, ...] = (0.0, 0.4, 0.8, 1.0)) -> dict[str, Any]:
    """Everything that the demo models are held to, in percent and in OKLab distances."""
    judges, own, other = Judges(studio), studio.palettes, studio.other_palettes
    bar = tqdm(total=len(weights) + 3, desc="200 pictures each")

    def draw(wire: Wire, adapter: str = "standard") -> Tensor:
        bar.update()
        return studio.draw(wire, adapter)

    by_weight = {weight: draw(following(weight) if weight else plain) for weight in weights}
    plus = draw(following(), "plus")
    left, both = draw(following(half="left"), "plus"), draw(two_halves, "plus")
    bar.close()
    unadapted = torch.stack([palette_of(picture, RIGHT) for picture in by_weight[0.0]])
    drawn = studio.drawn
    both_match = judges.nearest(both, own, LEFT) & judges.nearest(both, other, RIGHT)
    return {
        "pictures": len(own),
        "classifier on drawn pictures": judges.right_content(drawn.pictures / 255, drawn.words),
        "nearest palette": {
            "standard": percent(judges.nearest(by_weight[0.8], own)), "plus": percent(judges.nearest(plus, own)),
            "no adapter": percent(judges.nearest(by_weight[0.0], own)),
        },
        "content": {
            "standard": judges.right_content(by_weight[0.8], studio.words),
            "plus": judges.right_content(plus, studio.words),
            "no adapter": judges.right_content(by_weight[0.0], studio.words),
        },
        "distance by weight": {str(w): round(judges.distance(p, own), 4) for w, p in by_weight.items()},
        "distance": {
            "standard": round(judges.distance(by_weight[0.8], own), 4), "plus": round(judges.distance(plus, own), 4),
        },
        "left half": {
            "inside": percent(judges.nearest(left, own, LEFT)),
            "outside": percent(judges.nearest(left, unadapted, RIGHT)),
        },
        "two halves": {"both match": percent(both_match)},
    }  # fmt: skip


def rows(results: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What, at least, and measured: the table of the documentation."""
    by_weight = list(results["distance by weight"].items())
    falls = all(a[1] > b[1] for a, b in zip(by_weight, by_weight[1:], strict=False))
    near = results["distance"]
    for variant in ("standard", "plus"):
        right = results["nearest palette"][variant]
        yield f"nearest palette among 8 is the reference's, weight 0.8, {variant}", "90 %", f"{right} %"
    for variant in ("standard", "plus"):
        right = results["content"][variant]
        yield f"content follows the words, weight 0.8, {variant}", "85 %", f"{right} %"
    yield "the classifier itself, on drawn pictures", "97 %", f"{results['classifier on drawn pictures']} %"
    yield (
        "palette distance falls with the weight", "yes",
        f"{'yes' if falls else 'no'}: {', '.join(f'{d} at {w}' for w, d in by_weight)}",
    )  # fmt: skip
    half = results["left half"]
    yield "left-half mask, plus: the reference's palette inside", "90 %", f"{half['inside']} %"
    yield "left-half mask, plus: the unadapted picture's palette outside", "90 %", f"{half['outside']} %"
    yield "two references, two halves, plus: both match", "85 %", f"{results['two halves']['both match']} %"
    yield (
        "plus comes nearer to the reference than standard", "yes",
        f"{'yes' if near['plus'] < near['standard'] else 'no'}: {near['plus']} and {near['standard']}",
    )  # fmt: skip

"""Pictures of the demo models to be judged, drawn through ComfyUI servers: 200 of each kind, or fewer.

All references are in styles that no model was trained on. Every picture shows another content than its reference.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from demo_models.words import WORDS
from harness.client import Client
from harness.demo_graph import APPLY, half_mask, sample
from harness.graph import Graph, Link, Node
from training.data import Drawn, draw_held_out

EACH = 20  # pictures per word, if a studio draws no other number
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


def riding(layers: str = "all", weight: float = 1.0, half: str | None = None, **more: Any) -> Wire:
    """One riding reference of IPAdapter Reference Attention for each picture of the canvas; no adapter acts."""

    def wire(g: Graph, models: Node, references: list[Link]) -> Link:
        latent = g.add("VAEEncode", pixels=references[0], vae=models[3])[0]
        links = {"model": models[0], "latent": latent} | ({"attn_mask": half_mask(g, half)[0]} if half else {})
        widgets = {"weight": weight, "layers": layers, "start_at": 0.0, "end_at": 1.0, "per_frame": True}
        return g.add("IPAdapterReferenceAttention", **links | widgets | more)[0]

    return wire


def _apply(g: Graph, models: Node, model: Link, image: Link, weight: float, half: str | None) -> Link:
    inputs: dict[str, Any] = {"model": model, "ipadapter": models[2], "clip_vision": models[1], "image": image}
    settings = {key: value for key, value in APPLY.items() if key != "combine_embeds"}
    if half:
        inputs["attn_mask"] = half_mask(g, half)[0]
    return g.add("IPAdapterBatch", **settings | inputs | {"weight": weight, "encode_batch_size": 0})[0]


@cache
def held_out() -> Drawn:
    """The styles that no model was trained on, which take more than a second to draw; nobody changes them."""
    return draw_held_out()


@dataclass(frozen=True)
class Group:
    """A word, the held-out pictures whose style it is drawn in, and the next word's, for the other half."""

    word: str
    rows: Tensor  # (each,)
    others: Tensor


@dataclass
class Studio:
    """Servers to draw on side by side, how they sample, and the held-out styles."""

    servers: Sequence[Client]
    sampler: Mapping[str, Any] = field(default_factory=dict)  # what differs from the demo's own
    drawn: Any = field(default_factory=held_out)
    each: int = EACH  # pictures per word

    @cached_property
    def groups(self) -> list[Group]:
        free, rows = list(range(len(self.drawn))), []
        for number in range(len(WORDS)):
            rows.append([row for row in free if self.drawn.words[row] != number][: self.each])
            free = [row for row in free if row not in rows[-1]]
        pairs = zip(WORDS, rows, rows[1:] + rows[:1], strict=True)
        return [Group(word, torch.tensor(own), torch.tensor(next_)) for word, own, next_ in pairs]

    def draw(self, wire: Wire, adapter: str = "standard", references: Tensor | None = None) -> Tensor:
        """Pictures (n, 3, SIZE, SIZE) in 0..1, in the order of `groups`; `references` (n, ...) replace the own."""
        places = [self.servers[i % len(self.servers)] for i in range(len(self.groups))]
        shown = [None] * len(self.groups) if references is None else references.split(self.each)
        with ThreadPoolExecutor(len(self.servers)) as pool:
            jobs = [
                pool.submit(self._draw_group, server, group, wire, adapter, own)
                for server, group, own in zip(places, self.groups, shown, strict=True)
            ]
            return torch.cat([job.result() for job in jobs])

    def _draw_group(self, server: Client, group: Group, wire: Wire, adapter: str, own: Tensor | None) -> Tensor:
        g = Graph()
        models = g.add("IPAdapterDemoLoader", adapter=adapter)
        known = self.drawn.pictures
        names = [self._frames(server, f"held out {int(rows[0])}", known[rows]) for rows in (group.rows, group.others)]
        if own is not None:
            names = [self._frames(server, f"photos for {group.word}", own)]
        model = wire(g, models, [g.add("LoadImage", image=name)[0] for name in names])
        pictures = sample(g, models, model, group.word, seed=5, batch=self.each, **self.sampler)
        saved = g.add("PreviewImage", images=pictures[0])
        made = server.run(g).images(saved.id)
        return torch.stack([torch.from_numpy(np.array(one.convert("RGB"))) for one in made]).movedim(-1, 1) / 255

    @staticmethod
    def _frames(server: Client, name: str, pictures: Tensor) -> str:
        """Pictures as frames of one PNG, which Load Image makes a batch of."""
        file = server.output.parent / "input" / f"{name}.png"
        if not file.exists():
            frames = [Image.fromarray(picture.movedim(0, -1).numpy()) for picture in pictures]
            frames[0].save(file, save_all=True, append_images=frames[1:])
        return file.name

    @property
    def rows(self) -> Tensor:
        """The held-out picture that each picture follows, (n,)."""
        return torch.cat([group.rows for group in self.groups])

    @property
    def palettes(self) -> Tensor:
        """The palette to follow of every picture, (n, 3, 3), sRGB."""
        return self.drawn.styles.palettes[self.rows]

    @property
    def other_palettes(self) -> Tensor:
        return self.drawn.styles.palettes[torch.cat([group.others for group in self.groups])]

    @property
    def textures(self) -> list[str]:
        return [self.drawn.styles.textures[row] for row in self.rows]

    @property
    def words(self) -> Tensor:
        return torch.arange(len(WORDS)).repeat_interleave(self.each)

    @property
    def reference_words(self) -> Tensor:
        """The number of the word that each reference shows, which is never that of its picture."""
        return self.drawn.words[self.rows]

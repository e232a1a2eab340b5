"""The demo's graph: the demo models, words, and any number of references, each with its own settings."""

from dataclasses import dataclass, field
from typing import Any

from demo_models.config import SIZE

from .graph import Graph, Link, Node

SAMPLER = {"steps": 16, "cfg": 1.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
APPLY = {
    "weight": 0.8, "weight_type": "linear", "combine_embeds": "concat", "start_at": 0.0, "end_at": 1.0,
    "embeds_scaling": "V only",
}  # fmt: skip
HALVES = {"left": 0, "right": SIZE // 2}  # where they begin


@dataclass(frozen=True)
class Follow:
    """A reference by name, and how it is followed; `more` goes into IPAdapter Advanced."""

    picture: str
    half: str | None = None  # left, right; None: everywhere
    noise: float = 0.0  # strength of the noisy copy in the negative rows
    layers: str = ""  # layers by name, as IPAdapter Weight Schedule reads them
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawing:
    """One picture: what it shows, and what it follows."""

    words: str
    follow: tuple[Follow, ...] = ()
    seed: int = 5
    adapter: str = "plus"


def half_mask(g: Graph, half: str) -> Node:
    black = g.add("SolidMask", value=0.0, width=SIZE, height=SIZE)
    white = g.add("SolidMask", value=1.0, width=SIZE // 2, height=SIZE)
    return g.add("MaskComposite", destination=black[0], source=white[0], x=HALVES[half], y=0, operation="add")


def apply(g: Graph, models: Node, model: Link, reference: Link, follow: Follow) -> Node:
    inputs: dict[str, Any] = {"model": model, "ipadapter": models[2], "clip_vision": models[1], "image": reference}
    if follow.half:
        inputs["attn_mask"] = half_mask(g, follow.half)[0]
    if follow.noise:
        noisy = g.add("IPAdapterNoise", type="fade", strength=follow.noise, blur=0, image_optional=reference)
        inputs["image_negative"] = noisy[0]
    if follow.layers:
        constant = {"layers": "linear", "steps": "constant", "low": 0.0, "high": 1.0, "start": 0.0, "end": 1.0}
        inputs["schedule"] = g.add("IPAdapterWeightSchedule", **constant, layer_text=follow.layers)[0]
    return g.add("IPAdapterAdvanced", **(APPLY | inputs | follow.more))


def sample(g: Graph, models: Node, model: Link, words: str, seed: int, batch: int = 1, **more: Any) -> Node:
    """Words to a decoded batch of pictures."""
    positive, negative = (g.add("IPAdapterDemoPrompt", words=text) for text in (words, ""))
    canvas = g.add("EmptyLatentImage", width=SIZE, height=SIZE, batch_size=batch)
    links = {"model": model, "positive": positive[0], "negative": negative[0], "latent_image": canvas[0]}
    sampled = g.add("KSampler", **(SAMPLER | links | {"seed": seed} | more))
    return g.add("VAEDecode", samples=sampled[0], vae=models[3])


def draw(drawing: Drawing) -> tuple[Graph, Node]:
    """The graph of one picture, and the node that saves it."""
    g = Graph()
    models = g.add("IPAdapterDemoLoader", adapter=drawing.adapter)
    model = models[0]
    for follow in drawing.follow:
        reference = g.add("IPAdapterDemoReference", picture=follow.picture)
        model = apply(g, models, model, reference[0], follow)[0]
    picture = sample(g, models, model, drawing.words, drawing.seed)
    return g, g.add("SaveImage", images=picture[0], filename_prefix="demo")

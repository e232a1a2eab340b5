"""Graphs that many tests share: sample a latent, apply an adapter."""

from typing import Any

from .graph import Graph, Link, Node

TOKENS = 8  # of a prompt: every attention reads them, and 77 tell no more


def sample(
    g: Graph, model: Link, family: str = "sd15", size: tuple[int, int] = (64, 64), batch: int = 1, **more: Any
) -> Node:
    """A KSampler of two steps on seeded conditionings; size is (width, height) in pixels, `more` changes its inputs."""
    width = "sd15" if family == "sd15" else "sdxl"
    positive, negative = (g.add("TestConditioning", family=width, seed=seed, tokens=TOKENS) for seed in (10, 20))
    latent = g.add("EmptyLatentImage", width=size[0], height=size[1], batch_size=batch)
    inputs = {"seed": 5, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    links = {"model": model, "positive": positive[0], "negative": negative[0], "latent_image": latent[0]}
    return g.add("KSampler", **(links | inputs | more))


def adapter(g: Graph, file: str = "ip-adapter_sd15.safetensors") -> Node:
    return g.add("IPAdapterModelLoader", ipadapter_file=file)


def apply(g: Graph, model: Link, image: Link | int = 1, file: str = "ip-adapter_sd15.safetensors", **more: Any) -> Node:
    """An IPAdapterAdvanced with its own loaders; `image` is a link or the seed of a test picture."""
    picture = image if isinstance(image, list) else g.add("TestImage", seed=image)[0]
    inputs = {
        "weight": 1.0, "weight_type": "linear", "combine_embeds": "concat", "start_at": 0.0, "end_at": 1.0,
        "embeds_scaling": "V only",
    }  # fmt: skip
    links = {"model": model, "ipadapter": adapter(g, file)[0], "clip_vision": g.add("TestClipVision", seed=3)[0]}
    return g.add("IPAdapterAdvanced", **(links | {"image": picture} | inputs | more))

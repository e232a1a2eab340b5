"""Graphs with image prompts on the tiny Flux and SD3.5 that the tests' server has as files."""

from collections.abc import Callable
from itertools import count
from typing import Any

from torch import Tensor

from .client import Client
from .graph import Graph, Link, Node

XLABS, INSTANTX = "flux-ip-adapter.safetensors", "instantx-flux-ip-adapter.bin"
SD35 = "instantx-sd3.5-large-ip-adapter.bin"
FILES = [XLABS, INSTANTX, SD35]
RUNS = count()
Build = Callable[[Graph, Link], Link]  # a patched model of a bare one


def family_of(file: str) -> str:
    return "sd3.5" if file == SD35 else "flux"


def model(g: Graph, family: str) -> Link:
    return g.add("UNETLoader", unet_name=f"tiny-{family}.safetensors", weight_dtype="default")[0]


def apply(g: Graph, m: Link, file: str = XLABS, image: int = 1, node: str = "IPAdapterAdvanced", **more: Any) -> Node:
    inputs = {"weight": 1.0, "weight_type": "linear", "combine_embeds": "concat", "start_at": 0.0, "end_at": 1.0}
    links = {
        "model": m, "ipadapter": g.add("IPAdapterModelLoader", ipadapter_file=file)[0],
        "clip_vision": g.add("TestClipVision", seed=3)[0], "image": g.add("TestImage", seed=image)[0],
    }  # fmt: skip
    return g.add(node, **(links | inputs | {"embeds_scaling": "V only"} | more))


def text(g: Graph, family: str, seed: int) -> Link:
    return g.add("TestConditioning", family=family, seed=seed, tokens=5)[0]


def sample(
    g: Graph, m: Link, family: str, cfg: float = 1.0, steps: int = 2, batch: int = 1, positive: Link | None = None
) -> Node:
    texts = [text(g, family, seed) for seed in (10, 20)]
    latent = g.add("EmptySD3LatentImage", width=64, height=96, batch_size=batch)
    return g.add(
        "KSampler", model=m, positive=positive or texts[0], negative=texts[1], latent_image=latent[0], seed=5,
        steps=steps, cfg=cfg, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip


def latent(server: Client, build: Build, file: str = XLABS, **sampling: Any) -> Tensor:
    """The latent sampled from the model that `build(graph, model)` makes of a bare one."""
    g, family, name = Graph(), family_of(file), f"transformer{next(RUNS)}"
    g.save(name, sample(g, build(g, model(g, family)), family, **sampling)[0])
    return server.run(g).tensor(name)


def bare(g: Graph, m: Link) -> Link:
    return m


def adapted(file: str = XLABS, **more: Any) -> Build:
    return lambda g, m: apply(g, m, file, **more)[0]


def solid(g: Graph, value: float) -> Link:
    return g.add("SolidMask", value=value, width=64, height=96)[0]


def half(g: Graph, x: int) -> Link:
    """White in the left half, for x = 0, or in the right one, for x = 32."""
    white = g.add("SolidMask", value=1.0, width=32, height=96)[0]
    return g.add("MaskComposite", destination=solid(g, 0.0), source=white, x=x, y=0, operation="add")[0]

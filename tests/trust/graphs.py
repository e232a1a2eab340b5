"""Random graphs of apply nodes, and what they sample: with everything kept from graphs before, or with nothing."""

from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

import synthetic
from harness.in_process import sample
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes import NODES
from pack.nodes.applying.caches import forget
from pack.nodes.guard import KINDS
from pack.nodes.loading.adapters import manage
from pack.nodes.loading.files import register_folder
from pack.nodes.schedules import IPAdapterWeightSchedule
from test_nodes_pack import standins, unets

register_folder("ipadapter")
SIZES: dict[str, Any] = {"context": 768, "channels": synthetic.sd15_channels(32), "pooled": 32, "hidden": 64}
SMALL: dict[str, Any] = {"dim": 64, "heads": 1, "depth": 1}
VARIANTS = ("standard", "plus")
SIDE = 24  # pixels of references
SOCKETS = ("model", "ipadapter", "clip_vision", "insightface")
FACE = "faceid"  # in the category of nodes that need face networks
MIDDLE = 0.5  # of sampling, where the ranges of nearly all graphs overlap: at its very start, they would do nothing
Step = tuple[type[io.ComfyNode], dict[str, Any]]


def apply_nodes() -> list[type[io.ComfyNode]]:
    """Every node that puts references on a model and needs neither faces nor what other nodes encoded."""
    found = []
    for node in NODES:
        ids = {item.id for item in node.define_schema().inputs}
        if {"model", "ipadapter"} <= ids and ids & {"image", "image_style"} and "preset" not in ids:
            found += [] if FACE in node.define_schema().category or node.__name__ == "IPAdapterApplyFaceID" else [node]
    return found


def picture(seed: int, count: int = 1, side: int = SIDE) -> Tensor:
    return torch.rand((count, side, side, 3), generator=torch.Generator().manual_seed(seed))


def random_value(draw: Random, item: Any) -> Any:
    """A value that a user could give an input; None leaves an optional one out."""
    if KINDS[type(item)].tolerant or (item.optional and draw.random() < 0.6):
        return None
    if isinstance(item, io.Image.Input):
        return ("picture", draw.randrange(4), draw.choice((1, 1, 2)))
    if isinstance(item, io.Mask.Input):
        return ("mask", draw.randrange(3))
    if item.id == "schedule":
        return ("schedule", draw.randrange(3))
    if isinstance(item, io.Combo.Input):
        return draw.choice(item.options)
    if isinstance(item, io.Boolean.Input):
        return draw.random() < 0.5
    if isinstance(item, io.Int.Input):
        return draw.randint(item.min, min(item.max, 3))
    if item.id in ("start_at", "end_at"):  # in their order, but for a few that are refused
        return round(draw.uniform(0, 0.55) if item.id == "start_at" else draw.uniform(0.5, 1), 2)
    if isinstance(item, io.Float.Input):
        return round(draw.uniform(item.min, item.max), 2)
    if isinstance(item, io.String.Input):
        return draw.choice(("", "3:2.5, 6:1", "0-3:0.5, style", "all:0.5, mid:1"))
    return None


def random_graph(seed: int) -> tuple[str, list[Step]]:
    """The variant of an adapter, and one to three applications of it, one after the other."""
    draw, nodes = Random(seed), apply_nodes()
    steps: list[Step] = []
    for _ in range(draw.randint(1, 3)):
        node = draw.choice(nodes)
        items = [item for item in node.define_schema().inputs if item.id not in SOCKETS]
        values = {item.id: random_value(draw, item) for item in items}
        steps.append((node, {id: value for id, value in values.items() if value is not None}))
    return draw.choice(VARIANTS), steps


def bare_model() -> ModelPatcher:
    return unets.tiny_model("sd15", seed=1)


@cache
def drawn(variant: str) -> dict[str, Any]:
    """The tensors of an adapter's file, which are copied for each that is made of them."""
    return synthetic.adapter(variant, seed=7, **SIZES, **SMALL)


@dataclass
class Bench:
    """A model, adapters and an encoder; what was applied is kept, as ComfyUI keeps what nodes gave."""

    model: Any = field(default_factory=bare_model)
    vision: Any = field(default_factory=lambda: standins.tiny_clip_vision(3, 64, 32, 56))
    adapters: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

    def adapter(self, variant: str) -> Any:
        if variant not in self.adapters:
            self.adapters[variant] = manage(read_checkpoint(deepcopy(drawn(variant)), variant))
        return self.adapters[variant]

    def pipeline(self, variant: str) -> dict[str, Any]:
        """The adapter with the encoder, as a unified loader gives them: one apply node takes no encoder of its own."""
        return {"ipadapter": {"model": self.adapter(variant)}, "clipvision": {"model": self.vision}}

    def given(self, value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        kind, seed, *more = value
        if kind == "picture":
            return picture(seed, *more)
        if kind == "mask":
            return (picture(seed, side=16)[..., 0] > 0.3 * seed).float()
        made = {"layers": "linear", "layer_text": "", "steps": ("ease in", "constant", "cosine down")[seed], "low": 0.2}
        return IPAdapterWeightSchedule.execute(**made, high=1.0, start=0.1 * seed, end=0.9).args[0]

    def run(self, graph: tuple[str, list[Step]]) -> Tensor | str:
        """The latent of a graph after a step, or what the user is told."""
        variant, steps = graph
        model, name = self.model, variant
        try:
            for node, inputs in steps:
                name += f" {node.__name__} {inputs}"
                if name not in self.kept:
                    values = {id: self.given(value) for id, value in inputs.items()}
                    sockets = {"model": model, "ipadapter": self.pipeline(variant)}
                    self.kept[name] = node.execute(**sockets, **values).args[0]
                model = self.kept[name]
        except ValueError as error:
            return str(error)
        return sample(model, (2, 4, 4, 4), start=MIDDLE)


def run_cold(graph: tuple[str, list[Step]], bare: ModelPatcher) -> Tensor | str:
    """The same with a clone of a bare model, and adapters, an encoder and caches that nothing was made with before."""
    forget()
    return Bench(bare.clone()).run(graph)

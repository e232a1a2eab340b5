"""Count what a sampler really does: every ATen operation that it dispatches."""

from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch
from comfy_api.latest import io
from torch.utils._python_dispatch import TorchDispatchMode

HOST_NODES: Any = import_module("nodes")  # ComfyUI's own, by name: ours is a folder of that name to a type checker
HOST_READS = ("aten.item.default", "aten._local_scalar_dense.default")
SCHEDULER = "sgm_uniform"  # the second of two steps is at the middle of sampling, not at its very end
PRODUCTS = ("aten.linear", "aten.mm.", "aten.bmm", "aten.addmm", "aten.matmul", "aten.baddbmm")


_name = cache(str)  # of an operation: torch spells it anew each time


class Operations(TorchDispatchMode):
    """Counts operations by name while it is entered; under inference mode, as ComfyUI samples, none is split up."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[_name(func)] += 1
        return func(*args, **(kwargs or {}))


def total(counts: Counter[str]) -> float:
    return sum(counts.values())


def host_reads(counts: Counter[str]) -> float:
    return sum(counts[name] for name in HOST_READS)


def products(counts: Counter[str]) -> float:
    """Matrix products."""
    return sum(count for name, count in counts.items() if name.startswith(PRODUCTS))


def count_step(model: Any, sample: Callable[[int], Any]) -> Counter[str]:
    """Operations of the second of two steps, from the end of one model call to the end of the next: what is done once,
    loading the model for one, drops out.
    """
    calls: list[Counter[str]] = []
    with torch.inference_mode(), Operations() as operations:
        diffusion_model = model.get_model_object("diffusion_model")
        hook = diffusion_model.register_forward_hook(lambda *_: calls.append(operations.counts.copy()))
        try:
            sample(2)
        finally:
            hook.remove()
    first, second = calls
    return second - first


class TestCountedStep(io.ComfyNode):
    """What one step of KSampler costs with this model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        conditionings = [io.Conditioning.Input(name) for name in ("positive", "negative")]
        inputs: list[Any] = [io.Model.Input("model"), *conditionings, io.Latent.Input("latent_image")]
        return io.Schema(node_id="TestCountedStep", category="testing", inputs=inputs, is_output_node=True)

    @classmethod
    def execute(cls, model: Any, positive: Any, negative: Any, latent_image: Any) -> io.NodeOutput:
        counts = count_step(
            model,
            lambda steps: HOST_NODES.common_ksampler(
                model, 5, steps, 7.0, "euler", SCHEDULER, positive, negative, latent_image
            ),
        )
        return io.NodeOutput(ui={"counts": [dict(counts)]})

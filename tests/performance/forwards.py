"""What one run of a diffusion model costs inside a sampling: operations, or calls of Python functions."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from test_nodes_pack.counting import Operations


def operations(model: ModelPatcher, sample: Callable[[ModelPatcher], Any]) -> list[tuple[int, Any]]:
    """The rows and the operations by name of every run of the diffusion model in a sampling."""
    with torch.inference_mode(), Operations() as counter:
        return forwards(model, sample, counter.counts.copy)


def python_calls(model: ModelPatcher, sample: Callable[[ModelPatcher], Any]) -> int:
    """The calls of Python functions in the last run of the diffusion model in a sampling."""
    gc.collect()
    gc.disable()  # a collection in the middle would call finalizers of what earlier tests left
    try:
        with counted_calls() as counter:
            return forwards(model, sample, lambda: counter[0])[-1][1]
    finally:
        gc.enable()


def forwards(
    model: ModelPatcher, sample: Callable[[ModelPatcher], Any], count: Callable[[], Any]
) -> list[tuple[int, Any]]:
    """The rows of every run of the diffusion model in a sampling, and how much `count` rose in it."""
    seen, begun = [], []
    network = model.get_model_object("diffusion_model")
    hooks = [
        network.register_forward_pre_hook(lambda *_: begun.append(count())),
        network.register_forward_hook(lambda _, args, out: seen.append((len(args[0]), count() - begun.pop()))),
    ]
    try:
        sample(model)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """The number of calls of Python functions while it is entered, in a list of one."""
    calls = [0]

    def see(frame: Any, event: str, argument: Any) -> None:
        calls[0] += event == "call"

    sys.setprofile(see)
    try:
        yield calls
    finally:
        sys.setprofile(None)

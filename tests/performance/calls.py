"""How many Python calls, of Python functions and of C ones, image prompts add to one layer of one step."""

import cProfile
import gc
from collections.abc import Callable
from typing import Any, Protocol

from comfy.model_patcher import ModelPatcher

from performance.rig import Rig

FIRST, LAST = 3, 6  # the steps that are counted: everything that is made once has been made before


class Samples(Protocol):
    """Samples a model in some steps: a Rig, say."""

    def sample(self, model: ModelPatcher, steps: int = ..., **more: Any) -> Any: ...


def calls_of_step(rig: Samples, model: ModelPatcher, **more: Any) -> float:
    """Python calls of one step, the mean of the steps FIRST to LAST of a run."""
    return (_calls(rig, model, LAST, **more) - _calls(rig, model, FIRST - 1, **more)) / (LAST - FIRST + 1)


def added_calls(rig: Rig, model: ModelPatcher, follow: Callable[[ModelPatcher], ModelPatcher], **more: Any) -> float:
    """Python calls that `follow` adds to one layer of one step of a model."""
    bare = calls_of_step(rig, model, **more)
    return (calls_of_step(rig, follow(model), **more) - bare) / rig.layers


def _calls(rig: Samples, model: ModelPatcher, steps: int, **more: Any) -> int:
    rig.sample(model, steps, **more)  # what is made once in a process
    profile = cProfile.Profile()
    gc.collect()
    gc.disable()  # a collection in the middle would call finalizers
    try:
        profile.enable()
        rig.sample(model, steps, **more)
        profile.disable()
    finally:
        gc.enable()
    return sum(entry.callcount for entry in profile.getstats())

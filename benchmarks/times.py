"""How long a step takes with image prompts, against the bare UNet; how long applying takes."""

import statistics
import time
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from pack.nodes.applying import caches
from performance.rig import Rig, half_mask

ADAPTERS = (1, 2, 4)
Case = tuple[int, bool]  # adapters, with masks


class StepTimer:
    """Seconds of every UNet call of a model, by CUDA events where there are any."""

    def __init__(self, model: ModelPatcher) -> None:
        self.seconds: list[float] = []
        self.model = model.clone()
        self.model.set_model_unet_function_wrapper(self.call)

    def call(self, apply_model: Any, arguments: Any) -> torch.Tensor:
        start = now()
        out = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        self.seconds.append(since(start))
        return out


def now() -> Any:
    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def since(start: Any) -> float:
    if not torch.cuda.is_available():
        return time.perf_counter() - start
    end = now()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def time_steps(rig: Rig, rounds: int, steps: int) -> dict[str, Any]:
    """Seconds of the bare step, and the ratio adapter/bare of every case.

    The cases take turns, so that a busy machine slows all of them; the fastest call of each counts.
    """
    model = rig.bare()
    cases: dict[Case, ModelPatcher] = {(0, False): model}
    for adapters in ADAPTERS:
        for masked in (False, True):
            cases[adapters, masked] = rig.chain(model, adapters, mask=half_mask() if masked else None)
    timers = {case: StepTimer(patched) for case, patched in cases.items()}
    for _ in range(rounds):
        for timer in timers.values():
            rig.sample(timer.model, steps)
            timer.seconds[-steps] = float("inf")  # the first call loads and arranges
    bare = min(timers.pop((0, False)).seconds)
    return {"bare s": bare} | {
        f"{adapters}{' masked' if masked else ''}": min(timer.seconds) / bare
        for (adapters, masked), timer in timers.items()
    }


def time_apply(rig: Rig, rounds: int = 5) -> dict[str, float]:
    """Median seconds of an apply that knows nothing yet, and of one where only the weight changed."""
    model = rig.bare()
    seconds: dict[str, list[float]] = {"new picture": [], "new weight": []}
    for number in range(rounds):
        caches.forget()
        for name in seconds:
            start = time.perf_counter()
            rig.follow(model, weight=0.5 + number / 10)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(one) for name, one in seconds.items()}

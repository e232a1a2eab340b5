"""How long a step takes with image prompts, against the bare UNet; how long applying takes."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from pack.nodes.applying import caches
from performance.rig import Rig, half_mask

from .counts import CASES
from .projecting import chain_projecting, follow_attending, follow_projecting

ADAPTERS = (1, 2, 4)
ADDED = ("plain", "with a mask", "inside start/end", "step schedule", "two adapters", "four adapters")
Case = tuple[int, bool]  # adapters, with masks


class StepTimer:
    """Seconds of every UNet call of a model, by `clock`; without one by CUDA events where there are any."""

    def __init__(self, model: ModelPatcher, clock: Callable[[], float] | None = None) -> None:
        self.seconds: list[float] = []
        self.clock = clock
        self.model = model.clone()
        self.model.set_model_unet_function_wrapper(self.call)

    def call(self, apply_model: Any, arguments: Any) -> torch.Tensor:
        start = self.clock() if self.clock else now()
        out = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        self.seconds.append(self.clock() - start if self.clock else since(start))
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


def time_added(rig: Rig, rounds: int, steps: int = 12) -> dict[str, dict[str, float]]:
    """Milliseconds of this thread's CPU time that image prompts add to a model call, beside the bare call's.

    At tiny widths, this is the time of Python and of PyTorch's dispatch. The cases take turns; the lower quartile of
    the calls counts, because the fastest of hundreds is an outlier and the mean includes what other programs disturbed.
    """
    model = rig.bare()
    cases = {"bare": model} | {name: CASES[name](rig, model) for name in ADDED}
    cases |= {"attending": follow_attending(rig, model), "projecting": follow_projecting(rig, model)}
    cases |= {"projecting, with a mask": follow_projecting(rig, model, half_mask())}
    cases |= {f"projecting, {name} adapters": chain_projecting(rig, model, n) for name, n in (("two", 2), ("four", 4))}
    timers = {name: StepTimer(case, clock=time.thread_time) for name, case in cases.items()}
    for _ in range(rounds):
        for timer in timers.values():
            rig.sample(timer.model, steps)
            del timer.seconds[-steps]  # the first call loads and arranges
    quartiles = {name: 1000 * statistics.quantiles(timer.seconds, n=4)[0] for name, timer in timers.items()}
    bare = quartiles.pop("bare")
    return {"bare": {"ms": bare}} | {name: {"ms": one - bare} for name, one in quartiles.items()}


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

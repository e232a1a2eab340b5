"""What is measured at real sizes: image prompts of this pack, and one that projects at every step, beside none."""

from collections.abc import Callable, Iterator, Mapping

import torch
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_torch_compile import TorchCompileModel
from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]
from torch.profiler import ProfilerActivity, profile

from performance.rig import Rig, half_mask

from .counts import RISING
from .projecting import follow_projecting
from .times import StepTimer

Case = Callable[[Rig, ModelPatcher], ModelPatcher]
OURS: dict[str, Case] = {
    "1": lambda rig, model: rig.follow(model),
    "1 masked": lambda rig, model: rig.follow(model, mask=half_mask()),
    "1 scheduled": lambda rig, model: rig.follow(model, schedule=RISING),
    "2": lambda rig, model: rig.chain(model, 2),
    "2 masked": lambda rig, model: rig.chain(model, 2, mask=half_mask()),
    "4": lambda rig, model: rig.chain(model, 4),
    "4 masked": lambda rig, model: rig.chain(model, 4, mask=half_mask()),
}
THEIRS: dict[str, Case] = {
    "projecting": lambda rig, model: follow_projecting(rig, model),
    "projecting, masked": lambda rig, model: follow_projecting(rig, model, half_mask()),
}
CASES = OURS | THEIRS
COUNTED = ("1", "1 masked", "1 scheduled", "4 masked", "projecting")  # whose kernels are counted


def time_cases(rig: Rig, model: ModelPatcher, rounds: int, steps: int) -> dict[str, float]:
    """Seconds of the bare step, and how much longer every case takes, as a ratio."""
    return ratios(rig, {"bare": model} | {name: case(rig, model) for name, case in CASES.items()}, rounds, steps)


def ratios(rig: Rig, models: Mapping[str, ModelPatcher], rounds: int, steps: int) -> dict[str, float]:
    """The cases take turns, so that a busy machine slows all of them; the fastest call of each counts."""
    timers = {name: StepTimer(model) for name, model in models.items()}
    for _ in range(rounds):
        for timer in timers.values():
            rig.sample(timer.model, steps)
            timer.seconds[-steps] = float("inf")  # the first call loads, arranges and compiles
    fastest = {name: min(timer.seconds) for name, timer in timers.items()}
    bare = fastest.pop("bare")
    return {"bare s": bare} | {name: seconds / bare for name, seconds in fastest.items()}


def time_compiled(rig: Rig, model: ModelPatcher, backend: str, rounds: int, steps: int) -> Iterator[dict[str, float]]:
    """The same under TorchCompileModel, for some of the cases and after each: compiling one takes minutes."""
    torch._dynamo.reset()
    compiled: dict[str, ModelPatcher] = {}
    for name in ("bare", "1", "1 masked"):
        case = CASES[name](rig, model) if name in CASES else model
        compiled[name] = TorchCompileModel.execute(case, backend).args[0]
        yield ratios(rig, compiled, rounds, steps)


def kernels(rig: Rig, model: ModelPatcher) -> dict[str, dict[str, float]]:
    """How many kernels a bare step runs and how long they keep the GPU busy; what every case adds a layer, and as a
    ratio. Unlike step times, both do not depend on how fast the host launches kernels.
    """
    bare, busy = run_kernels(rig, model)
    counts: dict[str, float] = {"bare": bare}
    seconds: dict[str, float] = {"bare s": busy}
    for name in COUNTED:
        count, time = run_kernels(rig, CASES[name](rig, model))
        counts[f"{name}, per layer"] = (count - bare) / rig.layers
        seconds[name] = time / busy if busy else 0.0
    return {"kernels": counts, "busy": seconds}


def run_kernels(rig: Rig, model: ModelPatcher) -> tuple[int, float]:
    """Kernels of one step and their seconds: three steps less two, so that what is done once drops out."""
    rig.sample(model, 1)  # loads the model
    three, two = (profiled(rig, model, steps) for steps in (3, 2))
    return three[0] - two[0], three[1] - two[1]


def profiled(rig: Rig, model: ModelPatcher, steps: int) -> tuple[int, float]:
    """Kernels that ran on the GPU, and the sum of their seconds; none without a GPU."""
    seen_on = ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU
    with profile(activities=[seen_on]) as seen:
        rig.sample(model, steps)
    ran = [event for event in seen.events() or () if event.device_type == DeviceType.CUDA]
    return len(ran), sum(event.time_range.elapsed_us() for event in ran) / 1e6


def peaks(rig: Rig, model: ModelPatcher) -> dict[str, float]:
    """The most memory (10^6 bytes) that torch had allocated while sampling; zero without a GPU."""
    return {"bare": peak(rig, model)} | {name: peak(rig, case(rig, model)) for name, case in CASES.items()}


def peak(rig: Rig, model: ModelPatcher) -> float:
    rig.sample(model, 1)  # loads the model
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    rig.sample(model, 2)
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0

"""What is measured at real sizes: image prompts of this pack, and one that projects at every step, beside none.

Models are named by case; "bare" is the model without image prompts.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_torch_compile import TorchCompileModel
from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]
from torch.profiler import ProfilerActivity, profile

from performance.calls import Samples
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


def ratios(rig: Samples, models: Mapping[str, ModelPatcher], rounds: int, steps: int) -> dict[str, float]:
    """Seconds of the step of "bare", and how much longer those of the other models take, as a ratio.

    The models take turns, so that a busy machine slows all of them; the fastest call of each counts.
    """
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


def kernels(rig: Samples, models: Mapping[str, ModelPatcher], layers: int) -> dict[str, dict[str, float]]:
    """How many kernels a step of "bare" runs and how long they keep the GPU busy; what the other models add to each of
    `layers`, and as a ratio. Unlike step times, both do not depend on how fast the host launches kernels.
    """
    ran = {name: run_kernels(rig, model) for name, model in models.items()}
    bare, busy = ran.pop("bare")
    counts = {f"{name}, per layer": (count - bare) / layers for name, (count, _) in ran.items()}
    seconds = {name: time / busy if busy else 0.0 for name, (_, time) in ran.items()}
    return {"kernels": {"bare": bare} | counts, "busy": {"bare s": busy} | seconds}


def run_kernels(rig: Samples, model: ModelPatcher) -> tuple[int, float]:
    """Kernels of one step and their seconds: three steps less two, so that what is done once drops out."""
    rig.sample(model, 1)  # loads the model
    three, two = (profiled(rig, model, steps) for steps in (3, 2))
    return three[0] - two[0], three[1] - two[1]


def profiled(rig: Samples, model: ModelPatcher, steps: int) -> tuple[int, float]:
    """Kernels that ran on the GPU, and the sum of their seconds; none without a GPU."""
    seen_on = ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU
    with profile(activities=[seen_on]) as seen:
        rig.sample(model, steps)
    ran = [event for event in seen.events() or () if event.device_type == DeviceType.CUDA]
    return len(ran), sum(event.time_range.elapsed_us() for event in ran) / 1e6


def peak(rig: Samples, model: ModelPatcher) -> float:
    """The most memory (10^6 bytes) that torch had allocated while sampling; zero without a GPU."""
    rig.sample(model, 1)  # loads the model
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    rig.sample(model, 2)
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0

"""On a GPU, at real sizes with random weights: kernel launches, step times by CUDA events, peak memory."""

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch.profiler import ProfilerActivity, profile

from performance.rig import Rig, half_mask

from .times import time_steps

SIZES = {"sd15": 64, "sdxl": 128}  # latent pixels
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "hipLaunchKernel")


def measure_gpu(family: str) -> dict[str, Any]:
    """Against the bare UNet, in fp16: launches of a step, step times, peak memory."""
    rig = Rig(family, channels=320, size=SIZES[family], dtype="fp16")
    model = rig.bare()
    masked = rig.follow(model, mask=half_mask())
    launches = {name: count_launches(rig, one) for name, one in (("bare", model), ("masked", masked))}
    memory = {name: peak_memory(rig, one) for name, one in (("bare", model), ("masked", masked))}
    return {"launches": launches, "peak bytes": memory, "steps": time_steps(rig, rounds=5, steps=10)}


def count_launches(rig: Rig, model: ModelPatcher) -> float:
    """Kernels launched by one step: half the difference between five steps and three."""
    counts = []
    for steps in (1, 5, 3):  # the first run loads the model
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            rig.sample(model, steps)
        counts.append(sum(event.count for event in seen.key_averages() if event.key.startswith(LAUNCHES)))
    return (counts[1] - counts[2]) / 2


def peak_memory(rig: Rig, model: ModelPatcher) -> int:
    torch.cuda.reset_peak_memory_stats()
    rig.sample(model, 2)
    return torch.cuda.max_memory_allocated()

"""python -m benchmarks.gpu FAMILY MODE: one family of UNets at real sizes, in one way of keeping it in memory.

`python atelier.py bench` starts it for every family and mode where there is a GPU, each in a process of its own,
because ComfyUI decides about memory when it is imported. The last line of output is the result as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import conftest  # noqa: F401  # ComfyUI on the path, and the pack as `pack`

if TYPE_CHECKING:
    from performance.rig import Rig

ROOT = Path(__file__).parents[1]
SIZES = {"sd15": 64, "sdxl": 128, "koala shallow": 8}  # latent pixels; the last to try it out
CHANNELS = 320  # of the published UNets
ROUNDS, STEPS = 5, 10
BACKENDS = ("inductor", "cudagraphs")  # of torch.compile, as ComfyUI's TorchCompileModel offers them
SPARE = {"sd15": 1.0, "sdxl": 2.5}  # GiB that the mode lowvram leaves for weights and activations


def set_normal(family: str) -> None:
    """ComfyUI as it loads models that fit."""


def set_lowvram(family: str) -> None:
    """Less memory than the UNet takes: ComfyUI keeps a part of its weights in main memory."""
    from comfy.cli_args import args

    args.lowvram, args.disable_dynamic_vram = True, True
    free = torch.cuda.mem_get_info()[0] / 1024**3
    args.reserve_vram = max(0.0, free - SPARE[family])


def set_dynamic(family: str) -> None:
    """Dynamic VRAM as ComfyUI's main.py turns it on."""
    import comfy_aimdo.control as control

    control.init()
    import comfy.memory_management as memory
    import comfy.model_management as management
    import comfy.model_patcher as patcher

    headroom = 0
    if not control.init_devices((device.index, headroom) for device in management.get_all_torch_devices()):
        raise SystemExit("comfy-aimdo does not work here, so dynamic VRAM could not be measured")
    patcher.CoreModelPatcher = patcher.ModelPatcherDynamic
    memory.aimdo_enabled = True


MODES: dict[str, Callable[[str], None]] = {"normal": set_normal, "lowvram": set_lowvram, "dynamic": set_dynamic}


def measure(
    rig: "Rig", mode: str, rounds: int = ROUNDS, steps: int = STEPS, backends: Sequence[str] = BACKENDS
) -> dict[str, Any]:
    """Step times in any mode; launches, memory and torch.compile where the whole model is on the device."""
    from . import gpu_cases

    results: dict[str, Any] = {"steps": gpu_cases.time_cases(rig, rounds, steps), "peak MB": gpu_cases.peaks(rig)}
    if mode == "normal":
        results["launches"] = gpu_cases.launches(rig)
        results["compiled"] = {backend: gpu_cases.time_compiled(rig, backend, rounds, steps) for backend in backends}
    return results


def measure_gpu(families: dict[str, str]) -> dict[str, Any]:
    """Every family in every mode; a mode that failed says why in place of its numbers."""
    return {
        f"{name}, {mode}": run([sys.executable, "-m", "benchmarks.gpu", family, mode])
        for name, family in families.items()
        for mode in MODES
    }


def run(command: list[str]) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=list(SIZES))
    parser.add_argument("mode", choices=list(MODES))
    parser.add_argument("--channels", type=int, default=CHANNELS)
    parser.add_argument("--size", type=int, help="latent pixels: the family's own, or less to try it out")
    parser.add_argument("--dtype", default="fp16", choices=["fp16", "bf16", "fp32"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--backends", nargs="+", default=BACKENDS, help="of torch.compile")
    options = parser.parse_args()
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()  # before anything imports comfy.model_management
    args.use_pytorch_cross_attention = True
    MODES[options.mode](options.family)
    from performance.rig import Rig

    rig = Rig(options.family, options.channels, options.size or SIZES[options.family], options.dtype)
    print(json.dumps(measure(rig, options.mode, options.rounds, options.steps, options.backends)))


if __name__ == "__main__":
    main()

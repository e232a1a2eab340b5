"""python -m benchmarks.gpu FAMILY MODE: one family of UNets at real sizes, in one way of keeping it in memory.

`python atelier.py bench` starts it for every family and mode where there is a GPU, each in a process of its own,
because ComfyUI decides about memory when it is imported. Every line of output that begins with a brace is the result so
far, as JSON.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import conftest  # noqa: F401  # ComfyUI on the path, and the pack as `pack`

if TYPE_CHECKING:
    from performance.rig import Rig

ROOT = Path(__file__).parents[1]
SIZES = {"sd15": 64, "sdxl": 128, "two layers": 8}  # latent pixels; the last to try it out
CHANNELS = 320  # of the published UNets
ROUNDS, STEPS = 4, 8
SLOW_ROUNDS, SLOW_STEPS = 2, 4  # where weights travel to the GPU in every step
BACKENDS = ("inductor", "cudagraphs")  # of torch.compile, as ComfyUI's TorchCompileModel offers them
SPARE = {"sd15": 1.0, "sdxl": 2.5}  # GiB that the mode lowvram leaves for weights and activations


def set_normal(family: str) -> None:
    """ComfyUI as it loads models that fit."""


def set_lowvram(family: str) -> None:
    """Less memory than the UNet takes: ComfyUI keeps a part of its weights in main memory."""
    import torch
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


MODES: dict[str, Callable[[str], None]] = {
    "normal": set_normal, "compiled": set_normal, "lowvram": set_lowvram, "dynamic": set_dynamic,
}  # fmt: skip
SLOW = ("lowvram", "dynamic")
WAYS: dict[str, Sequence[str]] = {
    "normal": ["normal"],
    "lowvram": ["lowvram"],
    "dynamic VRAM": ["dynamic"],
    **{f"torch.compile, {backend}": ["compiled", "--backend", backend] for backend in BACKENDS},
}


def measure(
    rig: "Rig", mode: str, rounds: int = ROUNDS, steps: int = STEPS, backend: str = BACKENDS[0]
) -> Iterator[dict[str, Any]]:
    """What is known after every part: step times, then, without torch.compile, kernels and memory."""
    from . import gpu_cases

    model = rig.bare()
    if mode in SLOW:
        rounds, steps = min(rounds, SLOW_ROUNDS), min(steps, SLOW_STEPS)
    if mode == "compiled":
        yield from ({"steps": found} for found in gpu_cases.time_compiled(rig, model, backend, rounds, steps))
        return
    yield (results := {"steps": gpu_cases.time_cases(rig, model, rounds, steps)})
    if mode == "normal":
        yield (results := results | gpu_cases.kernels(rig, model))
    yield results | {"peak MB": gpu_cases.peaks(rig, model)}


def measure_gpu(families: dict[str, str], limit: float) -> dict[str, Any]:
    """Every family in every way, at most `limit` seconds each; one that failed says why in place of its numbers."""
    measured = {
        f"{name}, {way}": run([sys.executable, "-m", "benchmarks.gpu", family, *options], limit)
        for way, options in WAYS.items()
        for name, family in families.items()
    }
    return {"device": device_name(), "measured": measured}


def device_name() -> str:
    import torch

    memory = torch.cuda.get_device_properties(0).total_memory / 1024**3
    return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, torch {torch.__version__}"


def run(command: list[str], limit: float | None = None) -> dict[str, Any]:
    """The last line that a process wrote as JSON, also of one that had to be stopped or broke off."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, errors = process.communicate(timeout=limit)
        failed = f"exit code {process.returncode}, {_cause(errors)}" if process.returncode else ""
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        failed = f"stopped after {limit:.0f} s"
    lines = [line for line in out.splitlines() if line.startswith("{")]
    return (json.loads(lines[-1]) if lines else {}) | ({"failed": failed} if failed else {})


def _cause(errors: str) -> str:
    """The last line that names an error; what Python and libraries write while they are closed comes after it."""
    lines = errors.split("Exception ignored")[0].strip().splitlines() or ["no message"]
    return next(
        (line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception|Interrupt)\b|.*: error:", line)),
        lines[-1],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=list(SIZES))
    parser.add_argument("mode", choices=list(MODES))
    parser.add_argument("--channels", type=int, default=CHANNELS)
    parser.add_argument("--size", type=int, help="latent pixels: the family's own, or less to try it out")
    parser.add_argument("--dtype", default="fp16", choices=["fp16", "bf16", "fp32"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--backend", default=BACKENDS[0], help="of torch.compile, in the mode `compiled`")
    options = parser.parse_args()
    import torch  # seconds, which whoever names no mode need not wait for
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()  # before anything imports comfy.model_management
    args.use_pytorch_cross_attention = True
    MODES[options.mode](options.family)
    from performance.rig import Rig

    size, drawn_on = options.size or SIZES[options.family], "cpu" if args.cpu else "cuda"
    rig = Rig(options.family, options.channels, size, options.dtype, drawn_on=drawn_on)
    for results in measure(rig, options.mode, options.rounds, options.steps, options.backend):
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()

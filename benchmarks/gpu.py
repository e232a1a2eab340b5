"""python -m benchmarks.gpu FAMILY MODE: one family of models at real sizes, in one way of keeping it in memory.

`python atelier.py bench` starts it for every line of PLAN where there is a GPU, each in a process of its own, because
ComfyUI decides about memory when it is imported. Every line of output that begins with a brace is the result so far, as
JSON.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import conftest  # noqa: F401  # ComfyUI on the path, and the pack as `pack`

if TYPE_CHECKING:
    from performance.rig import Rig

    from .flux import FluxRig

ROOT = Path(__file__).parents[1]
SIZES = {"sd15": 64, "sdxl": 128, "flux": 128, "two layers": 8, "two blocks": 8}  # latent pixels; two: to try it out
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


def set_resident(family: str) -> None:
    """All weights on the GPU from the start: to copy those of a large model there takes longer than to measure it."""
    from comfy.cli_args import args

    args.highvram = True


def set_dynamic(family: str) -> None:
    """Dynamic VRAM as ComfyUI's main.py turns it on."""
    import comfy_aimdo.control as control

    control.init(nvml_pressure=True)
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
    "resident": set_resident,
}  # fmt: skip
SLOW = ("lowvram", "dynamic", "resident")


class Part(NamedTuple):
    """What one process measures, and its share of the seconds; what it leaves goes to those after it."""

    name: str
    options: Sequence[str]
    share: float


PLAN = (  # the most important first
    Part("SD1.5, normal", ["sd15", "normal"], 60),
    Part("SDXL, normal", ["sdxl", "normal"], 90),
    Part("SD1.5, dynamic VRAM", ["sd15", "dynamic"], 40),
    Part("SDXL, dynamic VRAM", ["sdxl", "dynamic"], 50),
    Part("SD1.5, torch.compile, inductor", ["sd15", "compiled", "--backend", "inductor"], 120),
    Part("SD1.5, torch.compile, cudagraphs", ["sd15", "compiled", "--backend", "cudagraphs"], 50),
    Part("Flux, normal", ["flux", "resident"], 80),
    Part("SD1.5, lowvram", ["sd15", "lowvram"], 20),
    Part("SDXL, lowvram", ["sdxl", "lowvram"], 30),
    Part("SDXL, torch.compile, cudagraphs", ["sdxl", "compiled", "--backend", "cudagraphs"], 10),
    Part("SDXL, torch.compile, inductor", ["sdxl", "compiled", "--backend", "inductor"], 10),
)


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
    models = {"bare": model} | {name: case(rig, model) for name, case in gpu_cases.CASES.items()}
    yield (results := {"steps": gpu_cases.ratios(rig, models, rounds, steps)})
    if mode == "normal":
        counted = {name: models[name] for name in ("bare", *gpu_cases.COUNTED)}
        yield (results := results | gpu_cases.kernels(rig, counted, rig.layers))
    yield results | {"peak MB": {name: gpu_cases.peak(rig, one) for name, one in models.items()}}


def measure_flux(rig: "FluxRig", rounds: int, steps: int) -> Iterator[dict[str, Any]]:
    """What is known after every part: step times, the time in which the GPU is busy, memory."""
    from . import gpu_cases
    from .flux import FLUX_CASES

    model = rig.bare()
    models = {"bare": model} | {name: case(rig, model) for name, case in FLUX_CASES.items()}
    yield (results := {"steps": gpu_cases.ratios(rig, models, min(rounds, SLOW_ROUNDS), min(steps, SLOW_STEPS))})
    yield (results := results | {"busy": gpu_cases.kernels(rig, models, sum(rig.blocks))["busy"]})
    yield results | {"peak MB": {name: gpu_cases.peak(rig, one) for name, one in models.items()}}


def measure_gpu(limit: float, plan: Sequence[Part] = PLAN) -> Iterator[dict[str, Any]]:
    """What is known after every part of the plan, all of it within `limit` seconds.

    A part that failed, or had no time left, says why in place of its numbers.
    """
    begun, shares, measured = time.monotonic(), 0.0, {}
    for part in plan:
        shares += part.share
        left = begun + limit * min(1.0, shares / sum(part.share for part in plan)) - time.monotonic()
        command = [sys.executable, "-m", "benchmarks.gpu", *part.options]
        measured[part.name] = run(command, left) if left > 0 else {"failed": "no time was left"}
        yield {"device": device_name(), "measured": measured}


def device_name() -> str:
    import torch

    memory = torch.cuda.get_device_properties(0).total_memory / 1024**3
    return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, torch {torch.__version__}"


def run(command: list[str], limit: float | None = None) -> dict[str, Any]:
    """The last line that a process wrote as JSON, also of one that had to be stopped or broke off."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        # Files, not pipes: processes that torch.compile starts hold a pipe open when theirs is stopped.
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=out, stderr=errors, start_new_session=True
        )
        try:
            code = process.wait(timeout=limit)
            failed = f"exit code {code}, {_cause(_text(errors))}" if code else ""
        except subprocess.TimeoutExpired:
            stop(process)
            failed = f"stopped after {limit:.0f} s"
        lines = [line for line in _text(out).splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]
    return (json.loads(lines[-1]) if lines else {}) | ({"failed": failed} if failed else {})


def stop(process: subprocess.Popen[str]) -> None:
    """Stop a process, and those that it started where the system knows them."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


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
    parser.add_argument("--dtype", choices=["fp16", "bf16", "fp32"], help="fp16, of Flux bf16")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--backend", default=BACKENDS[0], help="of torch.compile, in the mode `compiled`")
    options = parser.parse_args()
    import torch  # seconds, which whoever names no mode need not wait for
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()  # before anything imports comfy.model_management
    args.use_pytorch_cross_attention = True
    MODES[options.mode](options.family)
    size, drawn_on = options.size or SIZES[options.family], "cpu" if args.cpu else "cuda"
    if options.family in ("flux", "two blocks"):
        from .flux import FluxRig

        small: dict[str, Any] = {"heads": 1, "blocks": (1, 1), "text": 4, "most": 8}
        sizes = small if options.family == "two blocks" else {}
        rig = FluxRig(size, dtype=options.dtype or "bf16", drawn_on=drawn_on, **sizes)
        found = measure_flux(rig, options.rounds, options.steps)
    else:
        from performance.rig import Rig

        rig = Rig(options.family, options.channels, size, options.dtype or "fp16", drawn_on=drawn_on)
        found = measure(rig, options.mode, options.rounds, options.steps, options.backend)
    for results in found:
        print(json.dumps(results), flush=True)


if __name__ == "__main__":
    main()

"""python atelier.py bench: what image prompts cost, as a table, a plot (PNG) and JSON; what the demo models follow.

Counts are the same on every machine; seconds are this machine's. With a GPU, real sizes are measured on it as well.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import torch

import conftest  # noqa: F401  # ComfyUI on the path, and the pack as `pack`

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FAMILIES = {"SD1.5": "sd15", "SDXL": "sdxl"}
SIZES = {"SD1.5": (32, 64), "SDXL": (32, 128)}  # UNet channels (the published: 320) and latent pixels, for a CPU


def measure(rounds: int, steps: int) -> dict:
    from performance.rig import Rig
    from performance.startup import load_pack

    from . import caches, counts, growth, memory, times

    results: dict = {"machine": machine(), "import": load_pack()[0], "work": caches.count_work()}
    results["bytes"] = memory.measure_bytes()
    results["operations"] = {name: counts.count_operations(family) for name, family in FAMILIES.items()}
    results["adapters"], results["frames"] = growth.grow_adapters(), growth.grow_frames()
    results["apply"] = {name: times.time_apply(Rig(family)) for name, family in FAMILIES.items()}
    results["steps"] = {}
    for name, (channels, size) in SIZES.items():
        measured = times.time_steps(Rig(FAMILIES[name], channels, size), rounds, steps)
        what = f"{size}x{size} latents, {channels} channels"
        results["steps"][name] = {"what": what, "times": measured}
    return results


def machine() -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = torch.get_num_threads()
    return f"{os.cpu_count()} CPU cores ({platform.machine()}, {threads} used), {device}, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often every case is timed")
    parser.add_argument("--steps", type=int, default=3, help="steps a round; the first is not timed")
    parser.add_argument("--commit", action="store_true", help="put the results into docs/ instead of output/")
    parser.add_argument(
        "--only", nargs="+", choices=["speed", "gpu", "pictures"], default=["speed", "gpu", "pictures"],
        help="what prompts cost, the same at real sizes on a GPU if there is one, what pictures follow",
    )  # fmt: skip
    parser.add_argument("--limit", type=float, default=900, help="seconds for one family and mode on the GPU")
    options = parser.parse_args()
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()  # before anything imports comfy.model_management
    args.use_pytorch_cross_attention = True  # what GPUs use; the default on a bare CPU is slower and counts the same
    folder = DOCS if options.commit else ROOT / "output" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    if "speed" in options.only:
        report_speed(measure(options.rounds, options.steps), folder, options.commit)
    if "gpu" in options.only and torch.cuda.is_available():
        from . import gpu

        report_gpu(gpu.measure_gpu(FAMILIES, options.limit), folder, options.commit)
    if "pictures" in options.only:
        from . import pictures

        pictures.report(pictures.measure_pictures(), options.commit, folder)


def report_speed(results: dict, folder: Path, commit: bool) -> None:
    from . import plot, report

    (folder / "performance.json").write_text(json.dumps(results, indent=1) + "\n")
    plot.draw(results, folder / "performance.png")
    text = report.tables(results)
    print(text)
    if commit:
        report.put_between_marks(DOCS / "performance.md", text)
    print(f"\nJSON and plot are in {folder}")


def report_gpu(results: dict, folder: Path, commit: bool) -> None:
    """In files of its own, because another machine than the one of the other numbers may have measured it."""
    from . import plot, report

    (folder / "performance_gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    plot.draw_gpu(results, folder / "performance_gpu.png")
    text = report.gpu_tables(results)
    print(text)
    if commit:
        report.put_between_marks(DOCS / "performance.md", text, report.GPU_MARKS)


if __name__ == "__main__":
    main()

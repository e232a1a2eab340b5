"""python atelier.py bench: what image prompts cost, as a table, a plot (PNG) and JSON; what the demo models follow.

Counts are the same on every machine; seconds are this machine's. With a GPU, real sizes are measured on it as well.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import conftest  # noqa: F401  # ComfyUI on the path, and the pack as `pack`

from . import plot, report

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PARTS = ["speed", "references", "gpu", "pictures", "beside"]
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
    results["added"] = times.time_added(Rig("sd15"), rounds=12)
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
        "--only", nargs="+", choices=PARTS, default=PARTS,
        help="what prompts cost, what references without an adapter cost, what prompts cost at real sizes on a GPU if "
        "there is one, what pictures follow, and what they follow beside references without an adapter",
    )  # fmt: skip
    parser.add_argument("--limit", type=float, default=570, help="seconds for all that is measured on the GPU")
    options = parser.parse_args()
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()  # before anything imports comfy.model_management
    args.use_pytorch_cross_attention = True  # what GPUs use; the default on a bare CPU is slower and counts the same
    folder = DOCS if options.commit else ROOT / "output" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    if options.only == ["gpu"] and not torch.cuda.is_available():
        parser.error("--only gpu measures on a GPU, and torch finds none here")
    if "speed" in options.only:
        results = measure(options.rounds, options.steps)
        keep(results, SPEED, folder, options.commit)
        show(results, SPEED, folder)
    if "references" in options.only:
        from . import references

        references.report(options.commit, folder)
    if "gpu" in options.only and torch.cuda.is_available():
        from . import gpu

        results = {}
        for results in gpu.measure_gpu(options.limit):  # kept after each part: who lends a GPU may take it back
            keep(results, GPU, folder, options.commit)
            print(f"{[*results['measured']][-1]} is done", flush=True)
        show(results, GPU, folder)
    if "pictures" in options.only:
        from . import pictures

        pictures.report(pictures.measure_pictures(), options.commit, folder)
    if "beside" in options.only:
        from . import pictures

        pictures.report_beside(options.commit, folder)


@dataclass(frozen=True)
class Report:
    """A part of the results: its files, its plot, its tables and where docs/performance.md has them."""

    name: str
    draw: Callable[[dict, Path], None]
    tables: Callable[[dict], str]
    marks: tuple[str, str]


SPEED = Report("performance", plot.draw, report.tables, report.MARKS)
# In files of its own, because another machine than the one of the other numbers may have measured it.
GPU = Report("performance_gpu", plot.draw_gpu, report.gpu_tables, report.GPU_MARKS)


def keep(results: dict, part: Report, folder: Path, commit: bool) -> None:
    """Write JSON and plot, and with `commit` put the tables into docs/performance.md."""
    (folder / f"{part.name}.json").write_text(json.dumps(results, indent=1) + "\n")
    part.draw(results, folder / f"{part.name}.png")
    if commit:
        report.put_between_marks(DOCS / "performance.md", part.tables(results), part.marks)


def show(results: dict, part: Report, folder: Path) -> None:
    print(f"{part.tables(results)}\n\nJSON and plot are in {folder}")


if __name__ == "__main__":
    main()

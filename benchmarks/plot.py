"""The numbers that matter as one picture."""

from pathlib import Path
from typing import Any

REFERENCE = {"plain": 39, "with a mask": 46, "two adapters": 73}  # operations per layer of the old pack, in this order
OLD, NEW = "#b0b0b0", "#2a6f97"


def draw(results: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (layers, steps, frames) = pyplot.subplots(1, 3, figsize=(13, 4))
    _draw_layers(layers, results["operations"]["SD1.5"])
    _draw_steps(steps, results["steps"])
    _draw_frames(frames, results["frames"])
    for axes in (layers, steps, frames):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def draw_gpu(gpu: dict[str, Any], file: Path) -> None:
    """What every case adds to the bare UNet: to a step, in every way that was measured, and to the GPU's work."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {
        f"{what}: {title}": one[part]
        for part, title in (("busy", "work added to the GPU"), ("steps", "time added to a step"))
        for what, one in gpu["measured"].items()
        if part in one
    }
    if not panels:
        return
    rows = -(-len(panels) // 2)
    figure, places = pyplot.subplots(rows, 2, figsize=(10, 3 * rows), squeeze=False)
    for axes in places.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, ratios) in zip(places.flat, panels.items(), strict=False):
        _draw_added(axes, title, ratios)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _draw_added(axes: Any, title: str, ratios: dict[str, float]) -> None:
    """Ratios to the bare UNet as percent on top of it."""
    more = {name: 100 * (ratio - 1) for name, ratio in ratios.items() if name != "bare s"}
    colours = [OLD if name.startswith("projecting") else NEW for name in more]
    bars = axes.barh(list(more), list(more.values()), color=colours)
    axes.bar_label(bars, fmt="%.1f %%")
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_layers(axes: Any, counts: dict[str, Any]) -> None:
    names = list(REFERENCE)
    places = range(len(names))
    for offset, label, colour, values in (
        (-0.2, "reference pack", OLD, [REFERENCE[name] for name in names]),
        (0.2, "this pack", NEW, [counts[name]["per layer"] for name in names]),
    ):
        bars = axes.bar([place + offset for place in places], values, 0.38, label=label, color=colour)
        axes.bar_label(bars, fmt="%g")
    axes.set_xticks(list(places), names)
    axes.set_ylim(0, 85)
    axes.set_title("Operations added per active layer")
    axes.legend(frameon=False)


def _draw_steps(axes: Any, steps: dict[str, Any]) -> None:
    for (family, one), marker, colour in zip(steps.items(), "os", (NEW, "#e07a5f"), strict=True):
        times = one["times"]
        for masked, style in (("", "-"), (" masked", "--")):
            ratios = [1.0, *(times[f"{n}{masked}"] for n in (1, 2, 4))]
            label = f"{family}{', masked' if masked else ''}"
            axes.plot([0, 1, 2, 4], ratios, style, marker=marker, color=colour, label=label)
    axes.set_ylim(0, 1.5)
    axes.set_xlabel("adapters")
    axes.set_title("Step time, adapter / bare")
    axes.legend(frameon=False, fontsize=8, ncols=2)


def _draw_frames(axes: Any, frames: dict[Any, Any]) -> None:
    counts = [int(n) for n in frames]
    axes.plot(counts, [one["seconds"] for one in frames.values()], "-o", color=NEW, label="seconds a step")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frames, each with its own picture")
    axes.set_title("Long batches: linear time, bounded memory")
    other = axes.twinx()
    other.plot(counts, [one["bytes"] / 1000 for one in frames.values()], "--s", color=OLD, label="kB kept")
    other.set_ylim(0, 2 * max(one["bytes"] for one in frames.values()) / 1000)
    other.spines["top"].set_visible(False)
    lines = [*axes.get_lines(), *other.get_lines()]
    axes.legend(lines, [line.get_label() for line in lines], frameon=False, loc="lower right")

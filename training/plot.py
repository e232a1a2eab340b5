"""Plot the losses of all models."""

import json
from pathlib import Path

from .loop import Curve

POINTS = 120  # of a curve; each is the mean of the steps around it


def keep(curve: Curve, file: Path) -> dict[str, list[float]]:
    """Add a curve, reduced to about 120 points, to the JSON file of all curves; the content of the file."""
    size = max(1, len(curve.losses) // POINTS)
    parts = [curve.losses[i : i + size] for i in range(0, len(curve.losses) - size + 1, size)]
    curves = json.loads(file.read_text()) if file.exists() else {}
    curves[curve.name] = {"steps": len(curve.losses), "loss": [round(sum(part) / size, 5) for part in parts]}
    file.write_text(json.dumps(curves, indent=1) + "\n")
    return curves


def draw(curves: dict, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, places = pyplot.subplots(1, len(curves), figsize=(3.2 * len(curves), 3), squeeze=False)
    for axes, (name, curve) in zip(places[0], curves.items(), strict=True):
        points = len(curve["loss"])
        axes.plot([curve["steps"] * (i + 0.5) / points for i in range(points)], curve["loss"], color="#2a6f97")
        axes.set_yscale("log")
        axes.set_title(name)
        axes.set_xlabel("steps")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    pyplot.close(figure)

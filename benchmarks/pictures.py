"""What the demo models' pictures follow: drawn through a ComfyUI server, judged by colour, content, texture, shape."""

import json
from pathlib import Path
from typing import Any

from demo.measure import measure, rows
from demo.studio import Studio
from harness.demo_graph import SAMPLER
from harness.server import Server

from .report import put_between_marks

CARD = Path(__file__).parents[1] / "demo_models"
WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def measure_pictures() -> dict[str, Any]:
    with Server() as one, Server() as other:  # side by side: a server uses one core
        return measure(Studio([one, other]), WEIGHTS)


def table(results: dict[str, Any]) -> str:
    """What was asked for and what was measured, as Markdown."""
    lines = [f"| {what} | {least} | {found} |" for what, least, found in rows(results)]
    head = f"{results['pictures']} pictures of each kind, {SAMPLER['steps']} steps, cfg {SAMPLER['cfg']}."
    return "\n".join([head, "", "| what | at least | measured |", "|---|---|---|", *lines])


def report(results: dict[str, Any], commit: bool, folder: Path) -> None:
    """Print the table and keep the numbers; with `commit`, in the models' own folder."""
    (CARD / "measured.json" if commit else folder / "demo_models.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    if commit:
        put_between_marks(CARD / "README.md", table(results))

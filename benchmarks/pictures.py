"""What the demo models' pictures follow: drawn through a ComfyUI server, judged by colour, content, texture, shape."""

import json
from pathlib import Path
from typing import Any

from demo.measure import measure, rows
from demo.measure_beside import COLUMNS, measure_beside
from demo.studio import Studio
from harness.demo_graph import SAMPLER
from harness.server import Server

from .report import put_between_marks

ROOT = Path(__file__).parents[1]
CARD, GUIDE = ROOT / "demo_models", ROOT / "docs" / "reference_attention.md"
SIDE_BY_SIDE = "side by side"  # in measured.json
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
    keep(results, commit, folder)
    print(table(results))
    if commit:
        put_between_marks(CARD / "README.md", table(results))


def keep(results: dict[str, Any], commit: bool, folder: Path) -> None:
    """Write numbers as JSON; with `commit` into the models' own folder, in place of those of the same names there."""
    file = CARD / "measured.json" if commit else folder / "demo_models.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | results, indent=1) + "\n")


def report_beside(commit: bool, folder: Path) -> None:
    """Measure adapters and references without an adapter side by side, and print and keep the numbers; with `commit`,
    also in docs/reference_attention.md.
    """
    with Server() as one, Server() as other:
        results = measure_beside([one, other])
    keep({SIDE_BY_SIDE: results}, commit, folder)
    print(text := beside_table(results))
    if commit:
        put_between_marks(GUIDE, text)


def beside_table(results: dict[str, Any]) -> str:
    """The way of every row, with its numbers, as Markdown."""
    head = ("", "its palette among 8", "distance to the palette", "its texture among 10", "content of the words",
            "content of the reference")  # fmt: skip
    units = {"distance": ""}
    lines = [head, ("---", *["---:"] * len(COLUMNS))]
    lines += [
        (name, *(f"{found[column]}{units.get(column, ' %')}" for column in COLUMNS))
        for name, found in results["ways"].items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

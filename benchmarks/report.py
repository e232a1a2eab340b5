"""Results as tables: printed, and put between the marks of docs/performance.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARKS = "<!-- measured -->", "<!-- end of measured -->"
Results = dict[str, Any]


def table(rows: Mapping[Any, Any], corner: str = "", digits: int = 2) -> str:
    """A Markdown table of rows of numbers by name, columns aligned for a terminal too."""
    first = next(iter(rows.values()))
    columns = list(first) if isinstance(first, Mapping) else [""]
    lines = [[corner, *map(str, columns)]]
    for name, row in rows.items():
        values = [row[column] for column in columns] if isinstance(row, Mapping) else [row]
        lines.append([str(name), *(_number(value, digits) for value in values)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for name, *values in lines:
        cells = [name.ljust(widths[0]), *(value.rjust(w) for value, w in zip(values, widths[1:], strict=True))]
        text.append(f"| {' | '.join(cells)} |")
    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([text[0], rule, *text[1:]])


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def tables(results: Results) -> str:
    """Everything that was measured, as Markdown."""
    parts = [f"Measured on {results['machine']}."]
    for family, counts in results["operations"].items():
        parts += [f"**{family}: what image prompts add to one step**", table(counts, "case")]
    steps = {f"{family}, {one['what']}": one["times"] for family, one in results["steps"].items()}
    parts += ["**Step time, adapter / bare**", table(steps, "adapters", 3)]
    parts += ["**Seconds of an apply** (tiny UNet widths)", table(results["apply"], "", 4)]
    parts += ["**What is computed again when an input changes** (SD1.5)", table(results["work"], "changed")]
    parts += ["**Megabytes in fp16 at published sizes**", table(results["bytes"], "adapter")]
    operations = {n: {"operations": count} for n, count in results["adapters"].items()}
    parts += ["**Operations by number of adapters, with masks** (SD1.5)", table(operations, "adapters")]
    parts += [
        "**Frames, each with its own picture, in windows of 16** (tiny UNet, budget 500 kB)",
        table(results["frames"], "frames"),
    ]
    parts += [f"**Loading the pack**: {results['import']:.2f} s on top of ComfyUI's own start."]
    for what, one in results.get("gpu", {}).items():
        parts += gpu_tables(what, one)
    return "\n\n".join(parts)


def gpu_tables(what: str, measured: Results) -> list[str]:
    """One family in one way of keeping it in memory."""
    if "failed" in measured:
        return [f"**{what}, on the GPU, real sizes**: not measured. {measured['failed']}"]
    rival = '"projecting" is a plain re-implementation that projects keys and values in every layer and step'
    parts = [f"**{what}, on the GPU, real sizes, fp16**: {rival}"]
    parts += [table(measured["steps"], "step: seconds of bare, then ratios to it", 4)]
    parts += [table(measured["peak MB"], "peak, 10^6 bytes", 1)]
    if "launches" in measured:
        parts += [table(measured["launches"], "kernel launches"), table(measured["compiled"], "torch.compile", 4)]
    return parts


def put_between_marks(file: Path, text: str) -> None:
    before, rest = file.read_text("utf-8").split(MARKS[0])
    _, after = rest.split(MARKS[1])
    file.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", "utf-8")

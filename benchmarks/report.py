"""Results as tables: printed, and put between the marks of docs/performance.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARKS = "<!-- measured -->", "<!-- end of measured -->"
GPU_MARKS = "<!-- measured on a GPU -->", "<!-- end of measured on a GPU -->"
Results = dict[str, Any]
LEAST = '"attending" only attends to stored keys and values, and decides nothing: the least that a prompt can cost.'
RIVAL = '"projecting" is a plain re-implementation that projects keys and values in every layer and step.'
GPU_PARTS = (
    ("steps", "Step time: seconds of the bare UNet, then every case as a ratio to it", 4),
    ("busy", "Seconds that the GPU is busy in a step of the bare UNet, then every case as a ratio to it", 4),
    ("kernels", "Kernels of a bare step, and how many more a layer has", 2),
    ("peak MB", "The most memory that torch had allocated while sampling, 10^6 bytes", 1),
)


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
    parts += ["**Milliseconds that a step of a tiny SD1.5 gets longer** (the thread's CPU time)"]
    parts += [table(results["added"], "case"), f"{RIVAL} {LEAST}"]
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
    return "\n\n".join(parts)


def gpu_tables(results: Results) -> str:
    """Every family in every way that was measured on a GPU, as Markdown; what failed says why."""
    measured: Mapping[str, Results] = results["measured"]
    parts = [f"Measured on {results['device']}. {RIVAL}"]
    for part, title, digits in GPU_PARTS:
        if rows := {what: one[part] for what, one in measured.items() if part in one}:
            parts += [f"**{title}**", _by_case(rows, digits)]
    parts += [f"**{what}**: not all was measured. {one['failed']}" for what, one in measured.items() if "failed" in one]
    return "\n\n".join(parts)


def _by_case(rows: Mapping[str, Mapping[str, Any]], digits: int) -> str:
    """Cases down, families and ways across; a case that a way did not measure is left empty."""
    cases = list(dict.fromkeys(case for row in rows.values() for case in row))
    return table({case: {what: row.get(case, "") for what, row in rows.items()} for case in cases}, "case", digits)


def put_between_marks(file: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    before, rest = file.read_text("utf-8").split(marks[0])
    _, after = rest.split(marks[1])
    file.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{after}", "utf-8")

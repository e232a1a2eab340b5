"""python atelier.py batch GRAPH [TABLE] [-o FOLDER]: run a graph once for each row of a table.

GRAPH is a workflow that ComfyUI saved or exported. TABLE is CSV, JSONL or Parquet; its columns name inputs:
Title.input, 12.seed, or seed where only one node has it. See docs/headless.md.
"""

import argparse
import io
import shlex
import sys
from pathlib import Path

from .batch import run_batch
from .errors import BatchError
from .table import read_grid


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        "atelier.py batch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graph", type=Path)
    parser.add_argument("table", type=Path, nargs="?", help="optional with --grid")
    parser.add_argument("-o", "--output", type=Path, default=Path("output/batch"), help="folder of the results")
    example = "weight=0.4,0.8 weight_type=linear,'style transfer'"
    parser.add_argument("--grid", nargs="+", default=[], metavar="COLUMN=VALUES", help=f"all combinations: {example}")
    parser.add_argument("--server", action="append", default=[], metavar="URL", help="a running ComfyUI; repeatable")
    parser.add_argument("--ray", metavar="ADDRESS", help="a Ray cluster: auto, host:port or ray://host:10001")
    parser.add_argument("--workers", type=int, help="ComfyUIs to start: here (1), or with --ray (one for each GPU)")
    parser.add_argument("--gpus", type=float, default=1, help="GPUs of the cluster for each worker")
    parser.add_argument("--flags", default="", help='flags for ComfyUIs that are started: --flags="--lowvram"')
    parser.add_argument("--timeout", type=float, default=1800, help="seconds that a row may take")
    parser.add_argument("--patience", type=float, default=60, help="seconds that a server may take to answer")
    parser.add_argument("--keep-order", action="store_true", help="run rows in the table's order")
    options = parser.parse_args()
    if options.table is None and not options.grid:
        parser.error("name a TABLE, or a --grid of values")
    return options


def main() -> int:
    """Run a batch; exit code 0, or 1: rows failed, 2: no row was run, 130: interrupted."""
    options = parse()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # Windows' file encodings lack most letters
    try:
        report = run_batch(
            options.graph,
            options.table,
            options.output,
            grid=read_grid(options.grid),
            servers=options.server,
            ray=options.ray,
            workers=options.workers,
            gpus=options.gpus,
            flags=shlex.split(options.flags),
            timeout=options.timeout,
            patience=options.patience,
            reorder=not options.keep_order,
        )
    except BatchError as error:
        print(f"[batch] No row was run:\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"[batch] Interrupted. The rows that ended are in {options.output}; the same command runs the rest.")
        return 130
    done = len(report.outcomes) - len(report.failed)
    print(f"[batch] {done} of {len(report.outcomes)} rows are done; {report.ran} were run now: {report.table}")
    for outcome in report.failed:
        print(f"[batch] row {outcome.row} failed: {outcome.error}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())

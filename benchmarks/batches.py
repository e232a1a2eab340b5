"""python -m benchmarks.batches: rows a minute, in the order of the table and in ours, on one server and on more.

The demo's models on the CPU. Every measurement is a batch into an empty folder on servers that have run one row before.
"""

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from headless.batch import run_plan
from headless.plan import Plan
from headless.results import Results
from headless.work import start_all
from headless.workers import Own

ROOT = Path(__file__).parents[1]
FLAGS = ["--cpu", "--cache-classic", "--force-fp32", "--use-pytorch-cross-attention"]
STEPS = 4


def table(rows: int) -> list[dict]:
    """Rows as people write them: for every seed, all references and both adapters; shuffled, as studies are."""
    references = sorted(file.stem for file in (ROOT / "demo_models" / "references").glob("*.png"))
    found = [
        {"picture": references[n % 6], "adapter": ("standard", "plus")[n // 6 % 2], "seed": n // 12}
        for n in range(rows)
    ]
    random.Random(0).shuffle(found)
    return found


def graph() -> dict:
    sys.path.insert(0, str(ROOT / "tests"))
    from harness.demo_graph import Drawing, Follow, draw

    g, _ = draw(Drawing("house", (Follow("red on strokes"),)))
    for entry in g.prompt.values():
        if entry["class_type"] == "KSampler":
            entry["inputs"]["steps"] = STEPS
    return g.prompt


def measure(workers: list[Own], rows: list[dict], reorder: bool) -> dict:
    infos = {worker.name: worker.nodes() for worker in workers}
    earlier = {id for worker in workers for id in history(worker)}
    plan = Plan(graph(), rows, infos, ROOT)
    assert not plan.problems, plan.problems
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        report = run_plan(plan, Results(Path(folder)), workers, 600, reorder, progress=False)
        seconds = time.monotonic() - began
    assert not report.failed
    inside = sum(outcome.seconds for outcome in report.outcomes)
    runs = [entry for worker in workers for id, entry in history(worker).items() if id not in earlier]
    return {
        "rows": len(rows), "per_minute": 60 * len(rows) / seconds, "in_servers": inside / seconds / len(workers),
        "nodes_per_row": sum(map(nodes_run, runs)) / len(rows),
    }  # fmt: skip


def history(worker: Own) -> dict[str, Any]:
    return worker.client.call("/history").json()


def nodes_run(entry: dict[str, Any]) -> int:
    """How many nodes a server computed for a row; it took the others from its cache."""
    cached = [data["nodes"] for kind, data in entry["status"]["messages"] if kind == "execution_cached"]
    return len(entry["prompt"][2]) - sum(map(len, cached))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--most", type=int, default=3, help="servers")
    options = parser.parse_args()
    workers = [Own(f"worker {n + 1}", FLAGS) for n in range(options.most)]
    with contextlib.ExitStack() as stack:
        start_all(workers)
        for worker in workers:
            stack.callback(worker.stop)
            measure([worker], table(1), True)
        for count in range(1, options.most + 1):
            for reorder in (False, True):
                rows = [row | {"seed": row["seed"] + 1000 * count + 500 * reorder} for row in table(options.rows)]
                found = measure(workers[:count], rows, reorder)
                order = "ours" if reorder else "the table's"
                said = {"servers": count, "order": order} | {name: round(value, 2) for name, value in found.items()}
                print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()

"""Run a batch: read, check everything, run what is missing, write the results."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .errors import BatchError
from .graph import is_page_format, read_graph
from .plan import Plan, in_order
from .results import Outcome, Results, import_pyarrow
from .sheet import draw_sheet
from .table import product, read_table
from .work import run_rows, start_all
from .workers import Own, Running, Worker


@dataclass(frozen=True)
class Report:
    """What a batch came to: every row's outcome in the table's order, and where it all lies."""

    folder: Path
    outcomes: list[Outcome]
    table: Path
    sheet: Path | None
    ran: int

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error]


def run_batch(
    graph: str | Path | Mapping[str, Any],
    table: str | Path | Sequence[Mapping[str, Any]] | None,
    folder: str | Path,
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    servers: Sequence[str] = (),
    ray: str | None = None,
    workers: int | None = None,
    gpus: float = 1,
    flags: Sequence[str] = (),
    timeout: float = 1800,
    patience: float = 60,
    reorder: bool = True,
    progress: bool = True,
) -> Report:
    """Run one graph once for every row of a table, and write pictures, results.parquet and a contact sheet.

    Args:
        graph: a workflow file or its JSON, in API or page format.
        table: a CSV, JSONL or Parquet file, or rows as dicts; None with a grid. Columns name inputs: `Title.input`,
            `12.seed`, or `seed` where one node has it. Paths of pictures begin at the table's folder.
        folder: where results go. What is there already of the same rows is not run again.
        grid: values by column; every row is run with every combination.
        servers: URLs of running ComfyUIs.
        ray: address of a Ray cluster, or "auto"; each worker takes `gpus` of it and starts a ComfyUI there.
        workers: how many ComfyUIs to start: here without servers and ray (1), on the cluster (as many as it has GPUs).
        flags: command line flags for ComfyUIs that are started.
        timeout: seconds that a row may take before its server counts as hung.
        patience: seconds that a server may leave a question unanswered.
        reorder: run rows in an order that reuses what servers have loaded; False keeps the table's.

    Raises:
        BatchError: nothing was run; everything that is wrong with graph, table, pictures and servers, at once.
        KeyboardInterrupt: it was interrupted; what was done is written, and the next call does the rest.
    """
    import_pyarrow()
    loaded = read_graph(Path(graph)) if isinstance(graph, str | Path) else graph
    rows = read_table(Path(table)) if isinstance(table, str | Path) else [{}] if table is None else list(table)
    rows = product(rows, grid or {})
    pictures = Path(table).parent if isinstance(table, str | Path) else Path()
    with started(hire(servers, ray, workers, gpus, flags, patience)) as staff:
        infos = {worker.name: worker.nodes() for worker in staff}
        if is_page_format(loaded):
            loaded = staff[0].to_prompt(loaded)
        plan = Plan(dict(loaded), rows, infos, pictures)
        if plan.problems:
            raise BatchError(plan.problems)
        return run_plan(plan, Results(Path(folder)), staff, timeout, reorder, progress)


def hire(
    servers: Sequence[str], ray: str | None, workers: int | None, gpus: float, flags: Sequence[str], patience: float
) -> Sequence[Worker]:
    if ray and servers:
        raise BatchError("Name servers or a Ray cluster, not both.")
    if ray:
        from .on_ray import ray_workers

        return ray_workers(ray, workers, gpus, flags, patience)
    if servers:
        return [Running(url, patience) for url in dict.fromkeys(servers)]
    return [Own(f"worker {number + 1}", flags, patience) for number in range(workers or 1)]


@contextlib.contextmanager
def started(workers: Sequence[Worker]) -> Iterator[Sequence[Worker]]:
    try:
        start_all(workers)
        yield workers
    finally:
        for worker in workers:
            worker.stop()


def run_plan(
    plan: Plan, results: Results, workers: Sequence[Worker], timeout: float, reorder: bool, progress: bool
) -> Report:
    outcomes = results.done(plan.rows)
    missing = [row for row in plan.rows if row.number not in outcomes]
    if reorder:
        missing = in_order(missing, plan.inputs, plan.prompt)
    bar = tqdm(total=len(plan.rows), initial=len(outcomes), desc="[batch] rows", unit="row", disable=not progress)
    say: Callable[[str], None] = bar.write if progress else lambda text: None
    try:
        with bar, contextlib.closing(run_rows(missing, workers, timeout, say)) as ends:
            for row, made, server, attempts in ends:
                if isinstance(made, str):
                    outcome = Outcome(row.number, row.key, row.values, server=server, error=made, attempts=attempts)
                    say(f"row {row.number}: {made}")
                else:
                    outcome = results.keep(row, made, server, attempts)
                results.note(outcome)
                outcomes[row.number] = outcome
                bar.update()
    finally:
        outcomes = results.done(plan.rows) | outcomes  # an interrupt may come between the journal's line and ours
        written = results.write_table(outcomes.values(), plan.inputs)
    ordered = [outcomes[row.number] for row in plan.rows]
    drawn = draw_sheet(results.folder, ordered)
    sheet = results.folder / "contact sheet.png" if drawn else None
    if drawn and sheet:
        drawn.save(sheet)
    return Report(results.folder, ordered, written, sheet, len(missing))

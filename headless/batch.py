"""Run a batch: read and check everything, run the rows that are not done, write the results."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .errors import BatchError, ServerLost
from .graph import NodeInfo, Prompt, is_page_format, read_graph
from .plan import Plan, in_order
from .results import Outcome, Results, import_pyarrow
from .sheet import draw_sheet
from .table import Values, product, read_table
from .work import run_rows, start_all
from .workers import Own, Running, Worker


@dataclass(frozen=True)
class Report:
    """The results of a batch: outcomes in the table's order, the files, and the number of rows that ran this time."""

    folder: Path
    outcomes: list[Outcome]
    table: Path
    sheet: Path | None
    ran: int

    @property
    def failed(self) -> list[Outcome]:
        """The outcomes of rows that ended with an error."""
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
    """Run a graph once for each row of a table, and write pictures, results.parquet and a contact sheet.

    Args:
        graph: a workflow file or its JSON, in API or page format.
        table: a CSV, JSONL or Parquet file, or rows as dicts; None with a grid. Columns name inputs: `Title.input`,
            `12.seed`, or `seed` where only one node has it. Paths of pictures begin at the table's folder.
        folder: the folder of the results. Rows whose results are there already are not run again.
        grid: values by column; each row is run with each combination.
        servers: URLs of running ComfyUIs.
        ray: address of a Ray cluster, or "auto"; each worker takes `gpus` of it and starts a ComfyUI there.
        workers: number of ComfyUIs to start: here (without servers and ray; 1), on the cluster (one for each GPU).
        flags: command line flags for ComfyUIs that are started.
        timeout: seconds that a row may take before its server counts as lost.
        patience: seconds that a server may take to answer a request before it counts as lost.
        reorder: run rows in an order that reuses what servers have loaded; False: in the table's order.
        progress: show a progress bar and messages.

    Raises:
        BatchError: no row was run; the message lists all errors in graph, table, pictures and servers.
        KeyboardInterrupt: the batch was interrupted; the rows that ended are written, and the next call runs the rest.
    """
    import_pyarrow()
    loaded = read_graph(Path(graph)) if isinstance(graph, str | Path) else graph
    rows, pictures = rows_of(table, grid or {})
    with started(make_workers(servers, ray, workers, gpus, flags, patience)) as crew:
        infos, prompt = described(crew, loaded)
        plan = Plan(prompt, rows, infos, pictures)
        if plan.problems:
            raise BatchError(plan.problems)
        return run_plan(plan, Results(Path(folder)), crew, timeout, reorder, progress)


def rows_of(
    table: str | Path | Sequence[Mapping[str, Any]] | None, grid: Mapping[str, Sequence[Any]]
) -> tuple[list[Values], Path]:
    """The rows of a table with a grid, and the folder at which their paths of pictures begin."""
    if isinstance(table, str | Path):
        return product(read_table(Path(table)), grid), Path(table).parent
    return product([{}] if table is None else table, grid), Path()


def described(crew: Sequence[Worker], graph: Mapping[str, Any]) -> tuple[dict[str, NodeInfo], Prompt]:
    """What every server says of its nodes, by the server's name, and a graph in API format."""
    try:
        infos = {worker.name: worker.nodes() for worker in crew}
        return infos, crew[0].to_prompt(graph) if is_page_format(graph) else dict(graph)
    except ServerLost as error:
        raise BatchError(str(error)) from error


def make_workers(
    servers: Sequence[str], ray: str | None, workers: int | None, gpus: float, flags: Sequence[str], patience: float
) -> Sequence[Worker]:
    """The workers of a batch, not started; arguments as those of `run_batch`."""
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
    """Start the workers, and stop them at the end."""
    try:
        start_all(workers)
        yield workers
    finally:
        for worker in workers:
            worker.stop()


def run_plan(
    plan: Plan, results: Results, workers: Sequence[Worker], timeout: float, reorder: bool, progress: bool
) -> Report:
    """Run the rows of a plan that are not done; arguments as those of `run_batch`."""
    outcomes = results.done(plan.rows)
    missing = [row for row in plan.rows if row.number not in outcomes]
    if reorder:
        missing = in_order(missing, plan.inputs, plan.prompt)
    bar = tqdm(total=len(plan.rows), initial=len(outcomes), desc="[batch] rows", unit="row", disable=not progress)
    say: Callable[[str], None] = bar.write if progress else lambda text: None
    try:
        with bar, contextlib.closing(run_rows(missing, workers, timeout, say)) as ends:
            for row, output, server, attempts in ends:
                if isinstance(output, str):
                    outcome = Outcome(row.number, row.key, row.values, server=server, error=output, attempts=attempts)
                    say(f"row {row.number}: {output}")
                else:
                    outcome = results.save(row, output, server, attempts)
                results.log(outcome)
                outcomes[row.number] = outcome
                bar.update()
    finally:
        outcomes = results.done(plan.rows) | outcomes  # the journal may have a line more after an interrupt
        written = results.write_table(outcomes.values(), plan.inputs)
    ordered = [outcomes[row.number] for row in plan.rows]
    sheet = None
    if picture := draw_sheet(results.folder, ordered, plan.inputs):
        sheet = results.folder / "contact sheet.png"
        picture.save(sheet)
    return Report(results.folder, ordered, written, sheet, len(missing))

"""Errors of a batch: before the first run, in a row, or of a server."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """An error before the first run: its row (from 1; None for all rows), its column or node, and what is wrong."""

    row: int | None
    column: str
    message: str

    def __str__(self) -> str:
        where = [f"row {self.row}"] if self.row else []
        return f"{', '.join(where + [self.column])}: {self.message}"


class BatchError(ValueError):
    """The batch cannot start, and no row was run; `problems` lists what to correct."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems = [] if isinstance(problems, str) else list(problems)
        super().__init__(problems if isinstance(problems, str) else "\n".join(map(str, self.problems)))


class RowFailed(RuntimeError):
    """The server refused the row's graph, or a node raised an error; another server would do the same."""


class ServerLost(RuntimeError):
    """The server died, hangs or has lost the row; another server can still run the row."""


class Stopped(RuntimeError):
    """The row was cancelled because the batch was interrupted."""

"""What can be wrong: with the table, with one row, with a server."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something that is wrong before the first run: in a row (1 is the first; None: all), in a column or the graph."""

    row: int | None
    column: str
    message: str

    def __str__(self) -> str:
        where = [f"row {self.row}"] if self.row else []
        return f"{', '.join(where + [self.column])}: {self.message}"


class BatchError(ValueError):
    """Nothing was run; `problems` is everything that has to be put right first."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems = [] if isinstance(problems, str) else list(problems)
        super().__init__(problems if isinstance(problems, str) else "\n".join(map(str, self.problems)))


class RowFailed(RuntimeError):
    """The server refused the row's graph, or a node raised; another server would do the same."""


class ServerLost(RuntimeError):
    """The server died, hangs or forgot the row; another server can still do it."""


class Stopped(RuntimeError):
    """The row was cancelled because the batch was interrupted."""

"""The results of a batch: files, a journal that survives a crash, and results.parquet."""

import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import PngImagePlugin

from .client import Output
from .errors import BatchError
from .plan import Row

PNG = b"\x89PNG\r\n\x1a\n"
HEADER = 33  # bytes of a PNG before its second chunk: the signature, and the header's length, name, 13 bytes, checksum


@dataclass(frozen=True)
class Outcome:
    """How a row ended: its files (relative to the batch's folder), or its error; `seconds` by the server's clock."""

    row: int
    key: str
    values: Mapping[str, Any]
    files: list[str] = field(default_factory=list)
    seconds: float = 0.0
    server: str = ""
    error: str | None = None
    attempts: int = 1
    scores: Mapping[str, float] = field(default_factory=dict)


def with_text(png: bytes, name: str, text: str) -> bytes:
    """A copy of a PNG with another text chunk; all other chunks stay as they are."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(name, text)
    chunk = io.BytesIO()
    for kind, data, *_ in info.chunks:
        PngImagePlugin.putchunk(chunk, kind, data)
    return png[:HEADER] + chunk.getvalue() + png[HEADER:]


def write_whole(file: Path, data: bytes) -> None:
    """Write a file that never exists in part: first under another name, then renamed."""
    part = file.with_name(file.name + ".part")
    with part.open("wb") as sink:
        sink.write(data)
        sink.flush()
        os.fsync(sink.fileno())
    part.replace(file)


class Results:
    """The folder of a batch: `pictures/`, `results.jsonl` (a line for each row that ended), `results.parquet`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        self.journal = folder / "results.jsonl"
        if self.journal.exists() and not self.journal.read_bytes().endswith(b"\n"):  # a crash cut its last line
            self.journal.write_bytes(self.journal.read_bytes() + b"\n")

    def earlier(self) -> Iterator[Outcome]:
        """The outcomes in the journal, without a line that a crash cut."""
        if not self.journal.exists():
            return
        for line in self.journal.read_text("utf-8").splitlines():
            try:
                yield Outcome(**json.loads(line))
            except ValueError:
                continue

    def done(self, rows: Iterable[Row]) -> dict[int, Outcome]:
        """Outcomes of rows that need not run again, by row: same graph, values and pictures, no error, all files."""
        by_key: dict[str, list[Outcome]] = defaultdict(list)
        seen = set()
        for outcome in self.earlier():
            if not outcome.error and (outcome.row, outcome.key) not in seen:
                if all((self.folder / file).is_file() for file in outcome.files):
                    seen.add((outcome.row, outcome.key))
                    by_key[outcome.key].append(outcome)
        done = {}
        for row in rows:
            if same := by_key.get(row.key):
                done[row.number] = Outcome(**{**vars(same.pop(0)), "row": row.number, "values": row.values})
        return done

    def save(self, row: Row, output: Output, server: str, attempts: int) -> Outcome:
        """Write a row's files; its outcome."""
        written = []
        for number, (name, data) in enumerate(output.files):
            if data.startswith(PNG):
                data = with_text(data, "batch", json.dumps({"row": row.number, "values": row.values}))
            tail = f"_{number}" if number else ""
            file = Path("pictures") / f"{row.number:05d}_{row.key[:8]}{tail}{Path(name).suffix}"
            write_whole(self.folder / file, data)
            written.append(file.as_posix())
        return Outcome(
            row.number, row.key, row.values, written, output.seconds, server, attempts=attempts, scores=output.scores
        )

    def log(self, outcome: Outcome) -> None:
        """Append an outcome to the journal; its files have to be written before."""
        with self.journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(asdict(outcome)) + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def write_table(self, outcomes: Iterable[Outcome], columns: Iterable[str]) -> Path:
        """Write results.parquet, a row for each outcome in the table's order, and return its path."""
        pyarrow, parquet = import_pyarrow()
        outcomes = sorted(outcomes, key=lambda outcome: outcome.row)
        scores = sorted({name for outcome in outcomes for name in outcome.scores})
        table: dict[str, list[Any]] = {"row": [outcome.row for outcome in outcomes]}
        table |= {column: as_array([outcome.values.get(column) for outcome in outcomes]) for column in columns}
        table["file"] = [outcome.files[0] if outcome.files else None for outcome in outcomes]
        table |= {name: [getattr(o, name) for o in outcomes] for name in ("files", "seconds", "server", "attempts")}
        table["error"] = pyarrow.array([outcome.error for outcome in outcomes], pyarrow.string())
        table |= {name: [outcome.scores.get(name) for outcome in outcomes] for name in scores}
        data = io.BytesIO()
        parquet.write_table(pyarrow.table(table), data)
        write_whole(self.folder / "results.parquet", data.getvalue())
        return self.folder / "results.parquet"


def as_array(values: list[Any]) -> Any:
    """Values as a pyarrow array; unsigned where seeds need all 64 bits, and texts where no type has all values."""
    pyarrow, _ = import_pyarrow()
    large = any(isinstance(value, int) and value >= 2**63 for value in values)  # seeds go up to 2**64 - 1
    try:
        return pyarrow.array(values, pyarrow.uint64() if large else None)
    except (pyarrow.ArrowException, OverflowError):  # numbers beside texts, or beside large ones below 0
        return pyarrow.array([None if value is None else str(value) for value in values], pyarrow.string())


def import_pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet; BatchError says how to install them."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise BatchError("results.parquet needs pyarrow: python -m pip install pyarrow") from error
    return pyarrow, parquet

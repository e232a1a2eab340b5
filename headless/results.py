"""What a batch leaves: files, a journal that a crash cannot spoil, and results.parquet."""

import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import PngImagePlugin

from .client import Made
from .errors import BatchError
from .plan import Row

PNG = b"\x89PNG\r\n\x1a\n"
HEADER = 33  # bytes of a PNG before its second chunk: the signature, and the header's length, name, 13 bytes, checksum


@dataclass(frozen=True)
class Outcome:
    """How a row ended: its files (relative to the batch's folder), or the error."""

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
    """A PNG with one more text in it, its pixels and everything else as they were."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(name, text)
    chunk = io.BytesIO()
    for kind, data, *_ in info.chunks:
        PngImagePlugin.putchunk(chunk, kind, data)
    return png[:HEADER] + chunk.getvalue() + png[HEADER:]


def write_whole(file: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = file.with_name(file.name + ".part")
    with part.open("wb") as sink:
        sink.write(data)
        sink.flush()
        os.fsync(sink.fileno())
    part.replace(file)


class Results:
    """The folder of a batch: `pictures/`, `results.jsonl` (a line as each row ends), `results.parquet` at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        self.journal = folder / "results.jsonl"
        if self.journal.exists() and not self.journal.read_bytes().endswith(b"\n"):  # a crash cut off its last line
            self.journal.write_bytes(self.journal.read_bytes() + b"\n")

    def earlier(self) -> Iterator[Outcome]:
        """What earlier runs wrote; a line that a crash cut off is left out."""
        if not self.journal.exists():
            return
        for line in self.journal.read_text("utf-8").splitlines():
            try:
                yield Outcome(**json.loads(line))
            except ValueError:
                continue

    def done(self, rows: Iterable[Row]) -> dict[int, Outcome]:
        """Rows that need not run again: the same graph, values and pictures, no error, and every file is there."""
        found: dict[str, list[Outcome]] = defaultdict(list)
        seen = set()
        for outcome in self.earlier():
            if not outcome.error and (outcome.row, outcome.key) not in seen:
                if all((self.folder / file).is_file() for file in outcome.files):
                    seen.add((outcome.row, outcome.key))
                    found[outcome.key].append(outcome)
        kept = {}
        for row in rows:
            if same := found.get(row.key):
                kept[row.number] = Outcome(**{**vars(same.pop(0)), "row": row.number, "values": row.values})
        return kept

    def keep(self, row: Row, made: Made, server: str, attempts: int) -> Outcome:
        """Write a row's files."""
        written = []
        for number, (name, data) in enumerate(made.files):
            if data.startswith(PNG):
                data = with_text(data, "batch", json.dumps({"row": row.number, "values": row.values}, default=str))
            tail = f"_{number}" if number else ""
            file = Path("pictures") / f"{row.number:05d}_{row.key[:8]}{tail}{Path(name).suffix}"
            write_whole(self.folder / file, data)
            written.append(file.as_posix())
        return Outcome(
            row.number, row.key, row.values, written, made.seconds, server, attempts=attempts, scores=made.scores
        )

    def note(self, outcome: Outcome) -> None:
        """Add a line to the journal, after its files are there."""
        with self.journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(asdict(outcome)) + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def write_table(self, outcomes: Iterable[Outcome], columns: Iterable[str]) -> Path:
        """Write results.parquet: a line for every row of the table, in its order."""
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
    pyarrow, _ = import_pyarrow()
    large = any(isinstance(value, int) and value >= 2**63 for value in values)  # seeds go up to 2**64 - 1
    return pyarrow.array(values, pyarrow.uint64() if large else None)


def import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise BatchError("results.parquet needs pyarrow: python -m pip install pyarrow") from error
    return pyarrow, parquet

"""Tables of values (CSV, JSONL or Parquet; a run for each row), and grids (a run for each combination of values)."""

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import BatchError

LONGEST_NUMBER = 4300  # digits, see sys.set_int_max_str_digits
Values = dict[str, Any]  # by column; the graph's own value stays where a column is missing or None


def read_csv(file: Path) -> list[Values]:
    """The rows of a CSV file with a header, all values as text."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        names = reader.fieldnames or []
        if twice := {name for name in names if names.count(name) > 1}:
            raise BatchError(f"{file}: the header names a column twice: {', '.join(sorted(twice))}.")
        rows = list(reader)
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise BatchError(f"{file}, row {number}: expected {len(names)} cells, as in the header.")
    return rows


def whole_number(digits: str) -> int | str:
    """The number; its digits where Python reads no number of so many, for the message about the row and the column."""
    return int(digits) if len(digits) < LONGEST_NUMBER else digits


def read_jsonl(file: Path) -> list[Values]:
    """The rows of a file with a JSON object in each line that is not blank."""
    rows = []
    lines = file.read_text("utf-8-sig").split("\n")  # splitlines() also splits at U+2028 and others that JSON allows
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_int=whole_number)
        except (ValueError, RecursionError) as error:
            raise BatchError(f"{file}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise BatchError(f'{file}, line {number}: expected an object such as {{"seed": 1}}, found {line[:60]}')
        rows.append(row)
    return rows


def read_parquet(file: Path) -> list[Values]:
    """The rows of a Parquet file."""
    from pyarrow import parquet

    return parquet.read_table(file).to_pylist()


READERS: dict[str, Callable[[Path], list[Values]]] = {
    ".csv": read_csv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}


def read_table(file: Path) -> list[Values]:
    """The rows of a table.

    Raises:
        BatchError: there is no such file, READERS has no reader for its suffix, or its content does not fit its suffix.
    """
    if not file.is_file():
        raise BatchError(f"There is no table {file}.")
    if file.suffix.lower() not in READERS:
        raise BatchError(f"{file}: expected a table that ends in {', '.join(READERS)}.")
    try:
        return READERS[file.suffix.lower()](file)
    except BatchError:
        raise
    except (csv.Error, ValueError) as error:  # a wrong encoding and pyarrow's errors are ValueErrors too
        raise BatchError(f"{file} cannot be read as {file.suffix[1:]}: {error}") from error


def read_grid(texts: Iterable[str]) -> dict[str, list[str]]:
    """`weight=0.4,0.8` as {"weight": ["0.4", "0.8"]}; a value that has a comma stands in double quotes.

    Raises:
        BatchError: a text without a column or without values.
    """
    grid = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise BatchError(f"--grid {text}: expected a column and its values, such as weight=0.4,0.8")
        grid[name] = next(csv.reader([values], skipinitialspace=True))
    return grid


def product(table: Sequence[Mapping[str, Any]], grid: Mapping[str, Sequence[Any]]) -> list[Values]:
    """Every row of the table with every combination of the grid's values; the last column varies fastest.

    Raises:
        BatchError: a column stands in both, or there are no rows.
    """
    if both := {column for row in table for column in row} & set(grid):
        raise BatchError(f"These columns stand in the table and in the grid: {', '.join(sorted(both))}.")
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    rows = [{**row, **point} for row in table for point in points]
    if not rows:
        raise BatchError("The table has no rows, so the batch has no runs.")
    return rows

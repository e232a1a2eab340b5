"""docs/compatibility.md has a row for every neighbour that is tried, and none for another."""

import re
from pathlib import Path

from compatibility.neighbours import NEIGHBOURS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text("utf-8")


def rows_under(heading: str) -> list[list[str]]:
    """The cells of every row of the table under a heading, without its own two lines."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_first_table_lists_what_is_tried():
    assert [row[0] for row in rows_under("In one graph with an apply node")] == list(NEIGHBOURS)


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(tests/\w+/)?(test_\w+\.py)(?:::(test_\w+))?`", PAGE)
    assert len(named) > 5
    for folder, file, name in named:
        path = ROOT / (folder or "tests/compatibility") / file
        assert f"def {name}" in path.read_text("utf-8"), f"{path}::{name}"

"""docs/compatibility.md has a row for every neighbour that is tried; the tests that it and registry.md name exist."""

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


def rows_under_title() -> list[list[str]]:
    lines = [line for line in PAGE.split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_neighbours_lists_what_is_tried():
    assert [row[0] for row in rows_under("In one graph with an apply node")] == list(NEIGHBOURS)


def test_every_test_that_the_page_names_is_there():
    pages = [PAGE, (ROOT / "docs" / "registry.md").read_text("utf-8")]
    for page in pages:
        named = re.findall(r"`(tests/(?:\w+/)?)?(test_\w+\.py)(?:::(test_\w+))?`", page)
        assert len(named) > 5
        files = [(ROOT / (folder or "tests/compatibility") / file, name) for folder, file, name in named]
        assert [f"{path}::{name}" for path, name in files if f"def {name}" not in path.read_text("utf-8")] == []


def test_each_promise_has_a_test():
    assert [row[0] for row in rows_under_title() if "::test_" not in row[1]] == []

"""docs/compatibility.md has a row for every neighbour that is tried, and none for another."""

import re
from pathlib import Path

from compatibility.neighbours import NEIGHBOURS

PAGE = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text("utf-8")


def rows_under(heading: str) -> list[list[str]]:
    """The cells of every row of the table under a heading, without its own two lines."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_first_table_lists_what_is_tried():
    assert [row[0] for row in rows_under("In one graph with an apply node")] == list(NEIGHBOURS)


def test_every_test_that_the_page_names_is_there():
    for file, name in re.findall(r"`(?:tests/compatibility/)?(test_\w+\.py)::(test_\w+)`", PAGE):
        assert f"def {name}(" in (Path(__file__).parent / file).read_text("utf-8"), f"{file}::{name}"

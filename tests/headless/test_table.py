"""Tables and grids as they are read, without a server."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from headless.errors import BatchError
from headless.graph import read_graph
from headless.table import product, read_grid, read_table


def test_the_three_kinds_of_table_say_the_same(tmp_path):
    (tmp_path / "t.csv").write_text('seed,words\n1,house\n2,"fish, red"\n', "utf-8")
    (tmp_path / "t.jsonl").write_text('{"seed": 1, "words": "house"}\n\n{"seed": 2, "words": "fish, red"}\n', "utf-8")
    parquet.write_table(pyarrow.table({"seed": [1, 2], "words": ["house", "fish, red"]}), tmp_path / "t.parquet")
    rows = [{"seed": 1, "words": "house"}, {"seed": 2, "words": "fish, red"}]
    assert read_table(tmp_path / "t.jsonl") == read_table(tmp_path / "t.parquet") == rows
    assert [{**row, "seed": int(row["seed"])} for row in read_table(tmp_path / "t.csv")] == rows


def test_tables_of_windows_tools_and_separators_of_unicode_in_texts_are_read(tmp_path):
    words = "one\u2028two\u2029three\u0085four\x0bfive"
    for name, text, line in (
        ("a.jsonl", json.dumps({"words": words}, ensure_ascii=False), words.replace("\x0b", "\\u000b")),
        ("a.csv", f'words\r\n"{words}"', words),
    ):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
        assert line in text and read_table(tmp_path / name) == [{"words": words}], name
    (tmp_path / "graph.json").write_bytes(b'\xef\xbb\xbf{"1": {}}')
    assert read_graph(tmp_path / "graph.json") == {"1": {}}


def test_a_number_of_more_digits_than_python_reads_is_a_text_for_the_check_of_its_cell(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"seed": ' + "9" * 5000 + ', "steps": -2}\n', "utf-8")
    assert read_table(tmp_path / "a.jsonl") == [{"seed": "9" * 5000, "steps": -2}]


def test_a_table_that_cannot_be_read_says_where(tmp_path):
    for name, text, message in (
        ("a.csv", "seed,seed\n1,2\n", "names a column twice: seed"),
        ("a.csv", "seed,words\n1\n", "row 1: expected 2 cells"),
        ("a.csv", "seed\n1,2\n", "row 1: expected 1 cells"),
        ("a.csv", "seed\n1\n1,2\n", "row 2: expected 1 cells"),
        ("a.jsonl", '{"seed": 1}\n{seed}\n', "line 2: not JSON"),
        ("a.jsonl", '{"seed": 1}\n{"seed": ' + "[" * 9999 + "}\n", "line 2: not JSON"),
        ("a.jsonl", "[1]\n", "expected an object"),
        ("a.parquet", "no", "cannot be read as parquet"),
        ("a.xlsx", "", "expected a table that ends in .csv, .jsonl, .parquet"),
    ):
        (tmp_path / name).write_text(text, "utf-8")
        with pytest.raises(BatchError, match=message):
            read_table(tmp_path / name)


def test_a_grid_is_every_combination_with_every_row():
    grid = read_grid(["weight=0.4,0.8", 'weight_type=linear,"style, strong",style transfer'])
    assert grid == {"weight": ["0.4", "0.8"], "weight_type": ["linear", "style, strong", "style transfer"]}
    rows = product([{"seed": 1}, {"seed": 2}], grid)
    assert len(rows) == len({tuple(row.items()) for row in rows}) == 12
    assert rows[1] == {"seed": 1, "weight": "0.4", "weight_type": "style, strong"}


def test_a_column_stands_in_the_table_or_in_the_grid():
    with pytest.raises(BatchError, match="in the grid: seed"):
        product([{"seed": 1}], {"seed": [2]})
    with pytest.raises(BatchError, match="no rows"):
        product([], {"seed": [2]})
    with pytest.raises(BatchError, match="such as weight=0.4,0.8"):
        read_grid(["weight"])

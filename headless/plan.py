"""Check every value and picture of a table before the first run, and turn its rows into graphs."""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BatchError, Problem
from .graph import Input, NodeInfo, Prompt, downstream, find_input, inputs_of, is_link, with_values
from .pictures import FOLDER, Picture, Pictures
from .values import as_value, is_empty

RESERVED = ("row", "file", "files", "seconds", "server", "error", "attempts", "key")  # the results' own columns


@dataclass(frozen=True)
class Row:
    """A run: its number in the table (from 1), values by column, its graph, and the pictures that the graph names."""

    number: int
    values: Mapping[str, Any]
    prompt: Prompt
    pictures: tuple[Picture, ...]

    @property
    def key(self) -> str:
        """A hash of the graph with its values and the bytes of its pictures."""
        return hashlib.sha256(json.dumps(self.prompt, sort_keys=True).encode()).hexdigest()


class Plan:
    """A table checked against a graph: `problems` is everything that is wrong, `rows` what can be run.

    `infos` is what each server says of its nodes, by the server's name; paths of pictures begin at `folder`.
    """

    def __init__(
        self, prompt: Prompt, table: Sequence[Mapping[str, Any]], infos: Mapping[str, NodeInfo], folder: Path
    ) -> None:
        self.prompt = prompt
        self.infos = infos
        self.info = next(iter(infos.values()))
        self.pictures = Pictures(folder)
        self.problems: list[Problem] = []
        self.inputs = self._find_inputs(list(dict.fromkeys(column for values in table for column in values)))
        self._check_graph(table)
        self.rows = [self._make_row(number, values) for number, values in enumerate(table, 1)]

    def _report(self, row: int | None, column: str, message: str) -> None:
        self.problems.append(Problem(row, column, message))

    def _find_inputs(self, columns: list[str]) -> dict[str, Input]:
        inputs: dict[str, Input] = {}
        for column in columns:
            if column in RESERVED:
                self._report(None, column, "the results have a column of this name. Name it with its node: Title.input")
                continue
            try:
                input = find_input(column, self.prompt, self.info)
            except BatchError as error:
                self._report(None, column, str(error))
                continue
            if input in inputs.values():
                self._report(None, column, f"names {input}, and so does another column")
            inputs[column] = input
        return inputs

    def _check_graph(self, table: Sequence[Mapping[str, Any]]) -> None:
        """Check what no column changes: nodes that a server lacks, models and pictures that are missing."""
        varied = {(i.node, i.name) for c, i in self.inputs.items() if all(not is_empty(i, v.get(c)) for v in table)}
        if not self.prompt:
            self._report(None, "the graph", "has no nodes")
        for server, info in self.infos.items():
            for id, entry in self.prompt.items():
                if entry["class_type"] not in info:
                    self._report(None, f"node {id}", f"{server} has no node {entry['class_type']}. Install its pack")
                for input in inputs_of(self.prompt, id, info):
                    value = entry["inputs"].get(input.name)
                    if (id, input.name) not in varied and value is not None and not is_link(value):
                        self._check_choice(server, input, value)

    def _check_choice(self, server: str, input: Input, value: Any) -> None:
        """Check a choice that the graph itself names; a picture that the server lacks may be a file here."""
        if input.choices is None or value in input.choices:
            return
        if input.is_picture:
            with contextlib.suppress(ValueError):
                self.prompt = with_values(self.prompt, {input: self.pictures.find(str(value)).value})
                return
        if not str(value).startswith(f"{FOLDER}/"):  # a value of ours, from the server before
            self._report(None, f"{input} (the graph's own value)", f"{server} has no {value!r}")

    def _make_row(self, number: int, cells: Mapping[str, Any]) -> Row:
        values: dict[Input, Any] = {}
        listed: dict[str, Any] = dict.fromkeys(self.inputs)  # as results name them: pictures by their source
        for column, input in self.inputs.items():
            cell = cells.get(column)
            if is_empty(input, cell):
                continue
            try:
                values[input] = listed[column] = as_value(input, cell)
                if input.is_picture:
                    values[input] = self.pictures.find(listed[column]).value
                elif input.choices is not None:
                    check_servers(self.infos, self.prompt, input, values[input])
            except ValueError as error:
                self._report(number, column, str(error))
        prompt = with_values(self.prompt, values)
        return Row(number, listed, prompt, self.pictures.named_in(prompt))


def check_servers(infos: Mapping[str, NodeInfo], prompt: Prompt, input: Input, choice: Any) -> None:
    """Raise ValueError where a server lacks a choice, such as a model's file, that the first server has."""
    for server, info in infos.items():
        (same,) = (i for i in inputs_of(prompt, input.node, info) if i.name == input.name)
        if choice not in (same.choices or []):
            raise ValueError(f"{server} has no {choice!r}, and another server has")


def in_order(rows: Sequence[Row], inputs: Mapping[str, Input], prompt: Prompt) -> list[Row]:
    """Rows in an order that reuses what a server has loaded and computed.

    A column changes the less often, the more nodes run again when it changes: a reference before a seed, and with as
    many nodes a choice (a model's file) before other values. Equal values are neighbours, in the table's order.
    """

    def cost(column: str) -> tuple[int, bool]:
        input = inputs[column]
        return len(downstream(prompt, input.node)), input.kind == "COMBO" and not input.is_picture

    columns = sorted(inputs, key=cost, reverse=True)
    ranks: dict[str, dict[str, int]] = {column: {} for column in columns}
    for row in rows:
        for column in columns:
            ranks[column].setdefault(repr(row.values[column]), len(ranks[column]))
    return sorted(rows, key=lambda row: [ranks[column][repr(row.values[column])] for column in columns])

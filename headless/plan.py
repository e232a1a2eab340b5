"""Rows that can be run: every value checked and every picture found before the first of them starts."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BatchError, Problem
from .graph import Input, NodeInfo, Prompt, downstream, find_input, inputs_of, is_link, with_values
from .pictures import Picture, find_picture
from .values import fit, is_empty

RESERVED = ("row", "file", "files", "seconds", "server", "error", "attempts", "key")  # the results' own columns


@dataclass(frozen=True)
class Row:
    """One run: its number in the table from 1, the values it was given, its graph, and the pictures that this names."""

    number: int
    values: Mapping[str, Any]
    prompt: Prompt
    pictures: tuple[Picture, ...]

    @property
    def key(self) -> str:
        """The same for the same graph with the same values and the same bytes in its pictures, and only then."""
        return hashlib.sha256(json.dumps(self.prompt, sort_keys=True).encode()).hexdigest()


class Plan:
    """Checks a table against a graph; `problems` is everything that is wrong, `rows` what can be run."""

    def __init__(
        self, prompt: Prompt, table: Sequence[Mapping[str, Any]], infos: Mapping[str, NodeInfo], folder: Path
    ) -> None:
        """`infos` is what each server says of its nodes, by its name; paths of pictures begin at `folder`."""
        self.prompt = prompt
        self.infos = infos
        self.info = next(iter(infos.values()))
        self.folder = folder
        self.problems: list[Problem] = []
        self.found: dict[str, Picture | str] = {}  # what is wrong with a picture, in place of the picture
        self.inputs = self.find_inputs(list(dict.fromkeys(column for values in table for column in values)))
        self.check_graph(table)
        self.rows = [self.make_row(number, values) for number, values in enumerate(table, 1)]

    def report(self, row: int | None, column: str, message: str) -> None:
        self.problems.append(Problem(row, column, message))

    def find_inputs(self, columns: list[str]) -> dict[str, Input]:
        inputs: dict[str, Input] = {}
        for column in columns:
            if column in RESERVED:
                self.report(None, column, "the results have a column of this name. Name it with its node: Title.input")
                continue
            try:
                input = find_input(column, self.prompt, self.info)
            except BatchError as error:
                self.report(None, column, str(error))
                continue
            if input in inputs.values():
                self.report(None, column, f"names {input}, and so does another column")
            inputs[column] = input
        return inputs

    def check_graph(self, table: Sequence[Mapping[str, Any]]) -> None:
        """Check what no column changes: nodes that a server lacks, models and pictures that are not there."""
        varied = {(i.node, i.name) for c, i in self.inputs.items() if all(not is_empty(i, v.get(c)) for v in table)}
        for server, info in self.infos.items():
            for id, entry in self.prompt.items():
                if entry["class_type"] not in info:
                    self.report(None, f"node {id}", f"{server} has no node {entry['class_type']}. Install its pack")
                for input in inputs_of(self.prompt, id, info):
                    value = entry["inputs"].get(input.name)
                    if (id, input.name) not in varied and value is not None and not is_link(value):
                        self.check_own(server, input, value)
        if not self.prompt:
            self.report(None, "the graph", "has no nodes")

    def check_own(self, server: str, input: Input, value: Any) -> None:
        if input.choices is None or value in input.choices:
            return
        picture = self.picture(value) if input.is_picture else None
        if isinstance(picture, Picture):
            self.prompt = with_values(self.prompt, {input: picture.value})
        elif not str(value).startswith("batch/"):
            self.report(None, f"{input} (the graph's own)", f"{server}: there is no {value!r} on the server")

    def make_row(self, number: int, values: Mapping[str, Any]) -> Row:
        fitted: dict[Input, Any] = {}
        shown: dict[str, Any] = {}
        for column, input in self.inputs.items():
            value = values.get(column)
            if is_empty(input, value):
                shown[column] = None
                continue
            shown[column] = value
            try:
                fitted[input] = self.fit(input, value)
            except ValueError as error:
                self.report(number, column, str(error))
                continue
            shown[column] = value if input.is_picture else fitted[input]
        prompt = with_values(self.prompt, fitted)
        named = {value for entry in prompt.values() for value in entry["inputs"].values() if isinstance(value, str)}
        pictures = tuple(p for p in self.found.values() if isinstance(p, Picture) and p.value in named)
        return Row(number, shown, prompt, tuple(dict.fromkeys(pictures)))

    def fit(self, input: Input, value: Any) -> Any:
        if input.is_picture:
            picture = self.picture(str(value))
            if isinstance(picture, str):
                raise ValueError(picture)
            return picture.value
        fitted = fit(input, value)
        for server, info in self.infos.items():  # every server has to have the model
            if input.choices is not None and info is not self.info:
                (other,) = (i for i in inputs_of(self.prompt, input.node, info) if i.name == input.name)
                if fitted not in (other.choices or []):
                    raise ValueError(f"{server} has no {fitted!r}, and another server has")
        return fitted

    def picture(self, source: str) -> Picture | str:
        if source not in self.found:
            try:
                self.found[source] = find_picture(source, self.folder)
            except ValueError as error:
                self.found[source] = str(error)
        return self.found[source]


def in_order(rows: Sequence[Row], inputs: Mapping[str, Input], prompt: Prompt) -> list[Row]:
    """Rows in an order that reuses what a server has loaded and computed.

    A column whose change makes more of the graph run again changes less often: a reference before a seed, and where
    as much runs again, a choice (a model's file) before the rest. Equal values stand together, as the table has them.
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

"""Graphs in ComfyUI's API format: nodes by id, their inputs, and the inputs that a table's columns name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import BatchError

Prompt = dict[str, dict[str, Any]]
VALUES = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO")  # types that a cell can hold; other types come from a node
NodeInfo = Mapping[str, Any]  # the answer of /object_info: inputs and display name of each node, by its class


@dataclass(frozen=True)
class Input:
    """An input of a node in the graph.

    `node` is the node's id, `kind` the input's type, `options` the schema's options (min, max, choices...).
    """

    node: str
    name: str
    title: str
    kind: str
    options: Mapping[str, Any] = field(compare=False)

    @property
    def choices(self) -> list[Any] | None:
        """The values that a COMBO takes; None for other types."""
        return self.options.get("options") if self.kind == "COMBO" else None

    @property
    def is_picture(self) -> bool:
        """Whether the input names a picture in the server's input folder, as that of Load Image does."""
        return bool(self.options.get("image_upload"))

    def __str__(self) -> str:
        return f"{self.title}.{self.name}"


def read_graph(file: Path) -> dict[str, Any]:
    """A workflow's JSON, in API or page format.

    Raises:
        BatchError: there is no such file, or it is no workflow.
    """
    try:
        graph = json.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise BatchError(f"There is no graph {file}.") from None
    except (ValueError, RecursionError) as error:
        raise BatchError(f"{file} is not a workflow: {error}") from error
    if not isinstance(graph, dict) or not graph:
        raise BatchError(f"{file} is not a workflow: expected the JSON that ComfyUI's Save or Export (API) writes.")
    return graph


def is_page_format(graph: Mapping[str, Any]) -> bool:
    """Whether a workflow was saved from ComfyUI's page, and not exported for its API."""
    return isinstance(graph.get("nodes"), list)


def is_link(value: Any) -> bool:
    """Whether an input's value is [id of a node, number of its output]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def inputs_of(prompt: Prompt, id: str, info: NodeInfo) -> Iterator[Input]:
    """The inputs of a node's class, whether the graph sets them or not."""
    entry = prompt[id]
    described = info.get(entry["class_type"], {})
    title = entry.get("_meta", {}).get("title") or described.get("display_name") or entry["class_type"]
    for section in ("required", "optional"):
        for name, declared in described.get("input", {}).get(section, {}).items():
            kind, options = declared[0], dict(declared[1] if len(declared) > 1 else {})
            if isinstance(kind, list):  # a COMBO as nodes declared it before 2025
                kind, options = "COMBO", options | {"options": kind}
            yield Input(id, name, title, kind, options)


def names_of(prompt: Prompt, id: str, info: NodeInfo) -> set[str]:
    """The names of a node in columns: its id, class, title and display name."""
    entry = prompt[id]
    display_name = info.get(entry["class_type"], {}).get("display_name")
    return {id, entry["class_type"], entry.get("_meta", {}).get("title"), display_name} - {None, ""}


def find_input(column: str, prompt: Prompt, info: NodeInfo) -> Input:
    """The input that a column names: `12.seed`, `title.seed`, or `seed` where only one node has it.

    Raises:
        BatchError: no input or several inputs have this name; the message lists them, or similar names.
    """
    everything = [(input, names_of(prompt, id, info)) for id in prompt for input in inputs_of(prompt, id, info)]
    named = [i for i, _ in everything if f"{i.node}.{i.name}" == column]
    named = named or [i for i, names in everything if any(f"{name}.{i.name}" == column for name in names)]
    named = named or [i for i, _ in everything if i.name == column]
    named = [i for i in named if i.kind in VALUES] or named
    if len(named) == 1:
        return named[0]
    if named:
        which = ", ".join(f"{i.node}.{i.name} ({i.title})" for i in named)
        raise BatchError(f"fits several inputs: {which}. Name one of them with its node's number.")
    name = column.rpartition(".")[2]
    near = [str(i) for i, names in everything if i.name == name or any(column.startswith(f"{n}.") for n in names)]
    hint = f"There are: {', '.join(near[:12])}" if near else "Name a column like Node title.input or 12.seed"
    raise BatchError(f"fits no input of the graph. {hint}.")


def with_values(prompt: Prompt, values: Mapping[Input, Any]) -> Prompt:
    """A copy of a graph with other values; the graph itself stays as it is."""
    changed = dict(prompt)
    for input, value in values.items():
        entry = changed[input.node]
        changed[input.node] = entry | {"inputs": entry["inputs"] | {input.name: value}}
    return changed


def downstream(prompt: Prompt, id: str) -> set[str]:
    """The ids of a node and of all nodes that run again when it changes."""
    ids, fresh = set(), {id}
    while fresh:
        ids |= fresh
        fresh = {
            other
            for other, entry in prompt.items()
            if any(is_link(value) and value[0] in fresh for value in entry["inputs"].values())
        } - ids
    return ids

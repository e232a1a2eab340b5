"""Graphs in ComfyUI's API format: node ids, their inputs, and which inputs a table's columns name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import BatchError

Prompt = dict[str, dict[str, Any]]
VALUES = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO")  # types that a cell can hold; others come from a node
NodeInfo = Mapping[str, Any]  # what /object_info says: a node's inputs, display name, by class


@dataclass(frozen=True)
class Input:
    """An input of a node in the graph: its type, and what the server says of it (min, max, options...)."""

    node: str
    name: str
    title: str
    kind: str
    options: Mapping[str, Any] = field(compare=False)

    @property
    def choices(self) -> list[Any] | None:
        return self.options.get("options") if self.kind == "COMBO" else None

    @property
    def is_picture(self) -> bool:
        return bool(self.options.get("image_upload"))

    def __str__(self) -> str:
        return f"{self.title}.{self.name}"


def read_graph(file: Path) -> dict[str, Any]:
    """A workflow's JSON, in API or page format."""
    try:
        graph = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise BatchError(f"There is no graph {file}.") from None
    except ValueError as error:
        raise BatchError(f"{file} is not a workflow: {error}") from error
    if not isinstance(graph, dict) or not graph:
        raise BatchError(f"{file} is not a workflow: expected the JSON that ComfyUI's Save or Export (API) writes.")
    return graph


def is_page_format(graph: Mapping[str, Any]) -> bool:
    return isinstance(graph.get("nodes"), list)


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def inputs_of(prompt: Prompt, id: str, info: NodeInfo) -> Iterator[Input]:
    """Every input that the class of a node has, set in the graph or not."""
    entry = prompt[id]
    described = info.get(entry["class_type"], {})
    title = entry.get("_meta", {}).get("title") or described.get("display_name") or entry["class_type"]
    for section in ("required", "optional"):
        for name, declared in described.get("input", {}).get(section, {}).items():
            kind, options = declared[0], dict(declared[1] if len(declared) > 1 else {})
            if isinstance(kind, list):  # a choice as nodes declared it before 2025
                kind, options = "COMBO", options | {"options": kind}
            yield Input(id, name, title, kind, options)


def names_of(prompt: Prompt, id: str, info: NodeInfo) -> set[str]:
    entry = prompt[id]
    display_name = info.get(entry["class_type"], {}).get("display_name")
    return {id, entry["class_type"], entry.get("_meta", {}).get("title"), display_name} - {None, ""}


def find_input(column: str, prompt: Prompt, info: NodeInfo) -> Input:
    """The one input that a column names: `12.seed`, `title.seed`, or `seed` where only one node has it.

    Raises:
        BatchError: none fits, or several do; the message says which there are.
    """
    everything = [(input, names_of(prompt, id, info)) for id in prompt for input in inputs_of(prompt, id, info)]
    found = [i for i, _ in everything if f"{i.node}.{i.name}" == column]
    found = found or [i for i, names in everything if any(f"{name}.{i.name}" == column for name in names)]
    found = found or [i for i, _ in everything if i.name == column]
    found = [i for i in found if i.kind in VALUES] or found
    if len(found) == 1:
        return found[0]
    if found:
        which = ", ".join(f"{i.node}.{i.name} ({i.title})" for i in found)
        raise BatchError(f"fits several inputs: {which}. Name one of them with its node's number.")
    name = column.rpartition(".")[2]
    near = [str(i) for i, names in everything if i.name == name or any(column.startswith(f"{n}.") for n in names)]
    hint = f"There are: {', '.join(near[:12])}" if near else "Name a column like Node title.input or 12.seed"
    raise BatchError(f"fits no input of the graph. {hint}.")


def with_values(prompt: Prompt, values: Mapping[Input, Any]) -> Prompt:
    """A graph with other values; the one that came in stays as it is."""
    changed = dict(prompt)
    for input, value in values.items():
        entry = changed[input.node]
        changed[input.node] = entry | {"inputs": entry["inputs"] | {input.name: value}}
    return changed


def downstream(prompt: Prompt, id: str) -> set[str]:
    """The node and all that run again when it changes."""
    found, fresh = set(), {id}
    while fresh:
        found |= fresh
        fresh = {
            other
            for other, entry in prompt.items()
            if any(is_link(value) and value[0] in fresh for value in entry["inputs"].values())
        } - found
    return found

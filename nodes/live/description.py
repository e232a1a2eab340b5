"""Read a description of a node from the page, and check it against the node's own schema.

{"node": id, "inputs": {name: value or description}, "output": 0}; a picture is {"picture": base64 of a file}.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_api.latest import io

from ..inputs import limits_of
from . import limits


class DescriptionError(ValueError):
    """A request that cannot come from this pack's page."""


@dataclass(frozen=True)
class Described:
    """A node with the values of its inputs; a value may be another described node, or the bytes of a picture file."""

    node: str
    inputs: Mapping[str, Any] = field(default_factory=dict)  # Values, each as its input's schema allows
    output: int = 0


Number = int | float
Value = Described | bytes | str | Number  # of an input


class Reader:
    """Reads a description; `schemas` has the inputs of every node that a description may contain."""

    def __init__(self, schemas: Mapping[str, Mapping[str, io.Input]]) -> None:
        self.schemas = schemas
        self.parts = 0

    def node(self, data: object, depth: int = 0) -> Described:
        """The node that parsed JSON describes; DescriptionError for other data, and for data above the limits."""
        if not isinstance(data, dict) or not isinstance(data.get("node"), str):
            raise DescriptionError('Expected an object with "node", "inputs" and perhaps "output".')
        self.parts += 1
        if self.parts > limits.PARTS or depth > limits.DEPTH:
            raise DescriptionError(f"Drawn are up to {limits.PARTS} nodes, {limits.DEPTH} deep; this is more.")
        known = self.schemas.get(data["node"])
        if known is None:
            raise DescriptionError(f"No drawing knows the node {data['node']!r:.80}.")
        given, output = data.get("inputs", {}), data.get("output", 0)
        if not isinstance(given, dict) or type(output) is not int or not 0 <= output < 16:
            raise DescriptionError('"inputs" is an object and "output" a small whole number.')
        if unknown := sorted(given.keys() - known.keys()):
            raise DescriptionError(f"{data['node']} has no input {unknown[0]!r:.80}.")
        if missing := [name for name, item in known.items() if not item.optional and name not in given]:
            raise DescriptionError(f"{data['node']} needs {', '.join(missing)}.")
        values = {name: self.value(known[name], value, depth) for name, value in given.items()}
        return Described(data["node"], values, output)

    def value(self, item: io.Input, value: object, depth: int) -> Value:
        """The value of an input, checked as its kind wants; DescriptionError for another."""
        for kind, check in CHECKS.items():
            if isinstance(item, kind):
                return check(item, value)
        if isinstance(value, dict) and set(value) == {"picture"}:
            return _text(item, value["picture"], limits.BODY).encode("ascii", "replace")
        return self.node(value, depth + 1)


def _wrong(item: io.Input, value: object) -> DescriptionError:
    return DescriptionError(f"{item.id} cannot be {value!r:.80}.")


def _text(item: io.Input, value: object, longest: int = limits.TEXT) -> str:
    if not isinstance(value, str) or len(value) > longest:
        raise _wrong(item, value)
    return value


def _choice(item: io.Combo.Input, value: object) -> str:
    if not isinstance(value, str) or value not in list(item.options):
        raise _wrong(item, value)
    return value


def _number(item: io.Int.Input | io.Float.Input, value: object) -> Number:
    whole = isinstance(item, io.Int.Input)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise _wrong(item, value)
    low, high = limits_of(item)
    if not low <= value <= high or not math.isfinite(value):
        raise DescriptionError(f"{item.id} lies within {item.min} and {item.max}, and cannot be {value!r:.80}.")
    return value


CHECKS: dict[type[io.Input], Callable[[Any, object], str | Number]] = {
    io.Combo.Input: _choice, io.Int.Input: _number, io.Float.Input: _number, io.String.Input: _text,
}  # fmt: skip

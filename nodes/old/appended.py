"""Compatibility only: widgets that stand behind those which saved workflows know.

A workflow keeps the values of a node's widgets by position, and real ones have values left over at the end, of widgets
that once were there. Those would land on the widgets behind: so ComfyUI neither converts nor checks what these hold,
and where any of it is no value of theirs, the node runs as if none of them had been touched.
"""

import logging
from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..notices import say_on_node

log = logging.getLogger(__name__)


class Unchecked(str):
    """A type's name for the browser, which ComfyUI's own checks do not recognise."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return str.__ne__(self, other)  # asked before a link is connected

    __hash__ = str.__hash__


class AppendedChoice(io.Combo.Input):
    """One of a list of names."""

    def get_io_type(self) -> str:
        return Unchecked(io.Combo.io_type)

    def read(self, value: Any) -> str | None:
        """The value, None for what is none of the options."""
        return value if value in (self.options or ()) else None


class AppendedWhole(io.Int.Input):
    """A whole number. `validate_inputs` of the node names it too, or ComfyUI compares what it holds with the limits."""

    def get_io_type(self) -> str:
        return Unchecked(io.Int.io_type)

    def read(self, value: Any) -> int | None:
        """The value, None for what is no whole number within the limits."""
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            return None
        within = (self.min is None or self.min <= value) and (self.max is None or value <= self.max)
        return int(value) if within else None


class AppendedNumber(io.Float.Input):
    """A number. As with AppendedWhole, `validate_inputs` of the node names it too."""

    def get_io_type(self) -> str:
        return Unchecked(io.Float.io_type)

    def read(self, value: Any) -> float | None:
        """The value, None for what is no number within the limits."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        within = (self.min is None or self.min <= value) and (self.max is None or value <= self.max)
        return float(value) if within else None


APPENDED = (AppendedChoice, AppendedWhole, AppendedNumber)


def without_leftovers(node: type[io.ComfyNode], values: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a node, less those behind the known ones where any of these holds what is no value of it."""
    schema = node.define_schema()
    behind = {item.id: item for item in schema.inputs if isinstance(item, APPENDED)}
    given = {id: values[id] for id in behind if values.get(id) is not None}
    read = {id: behind[id].read(value) for id, value in given.items()}
    if None not in read.values():
        return dict(values) | read
    found = ", ".join(f"{id} = {value!r}" for id, value in given.items())
    note = f"Left over from another version of this node and not used: {found}. Choose values of the list to use them."
    if any(isinstance(value, str) and ":" in value for value in given.values()):  # FaceID's of 9 April 2024
        note += " Layer weights are set on IPAdapter Mad Scientist."
    log.warning("%s: %s", schema.display_name, note)
    say_on_node(note)
    return {name: value for name, value in values.items() if name not in behind}

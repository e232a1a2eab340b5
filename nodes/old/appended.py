"""Compatibility only: widgets that were added behind those of published workflows.

A workflow saves the values of a node's widgets by position. Published workflows have more values at the end, of widgets
that the node no longer has; ComfyUI assigns them to the widgets that were added since. So ComfyUI's own checks are
switched off for these widgets, and `nodes/guard.py` reads them: if any of them has an invalid value, the node runs with
the defaults of all of them. `validate_inputs` of a node must also name its AppendedWhole and AppendedNumber inputs, or
ComfyUI compares their values with the limits.
"""

from comfy_api.latest import io


class Unchecked(str):
    """The name of a type as the browser needs it, which ComfyUI's checks do not recognise."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return str.__ne__(self, other)  # ComfyUI uses != to check the type of a link

    __hash__ = str.__hash__


class AppendedChoice(io.Combo.Input):
    """An option of a list."""

    def get_io_type(self) -> str:
        return Unchecked(io.Combo.io_type)


class AppendedWhole(io.Int.Input):
    """A whole number."""

    def get_io_type(self) -> str:
        return Unchecked(io.Int.io_type)


class AppendedNumber(io.Float.Input):
    """A number."""

    def get_io_type(self) -> str:
        return Unchecked(io.Float.io_type)

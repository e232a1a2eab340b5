"""The base class of every node."""

from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

from comfy_api.latest import io

from ..ipadapter.errors import AdapterError
from .guard import checked
from .notices import say_on_node

LONGEST = 1500  # characters of an error message; longer messages, which quote data, are cut in the middle


class AtelierNode(io.ComfyNode):
    """Base of every node. A node defines `define_schema`, and `run` with one parameter for every input of the schema.

    ComfyUI calls `execute`, which checks the inputs and calls `run`. An input that is not connected is left out of the
    call of `run`, so that the parameter's default counts.
    """

    @classmethod
    def execute(cls, *values: object, **inputs: object) -> io.NodeOutput:
        """Check the inputs and run the node; positional values are in the order of the schema's inputs.

        The message of an error is shown on the node too, because the page itself shows it only behind a button.

        Raises:
            AdapterError: an input cannot be used, or has no value.
            TypeError: too many values, or a name that is no input of the node.
        """
        schema = cls.define_schema()
        given = named(schema, values, inputs)
        try:
            good = checked(schema, given)
            parameters = signature(cls.run).parameters
            if missing := [id for id in parameters if parameters[id].default is Parameter.empty and id not in good]:
                raise AdapterError(
                    f"{schema.display_name} has no value for {', '.join(missing)}. Connect it; if it is connected, the "
                    "node before gave no output there."
                )
            return cls.run(**good)
        except (ValueError, OSError) as error:
            message = str(error)
            if len(message) <= LONGEST:
                say_on_node(message)
                raise
            shorter = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
            say_on_node(shorter)
            raise AdapterError(shorter) from None

    @classmethod
    def run(cls, *values: Any, **inputs: Any) -> io.NodeOutput:
        """Compute the node's outputs from checked inputs."""
        raise NotImplementedError


def named(schema: io.Schema, values: Sequence[object], inputs: Mapping[str, object], *more: str) -> dict[str, object]:
    """All values of a call by name; positional values are in the order of the schema's inputs.

    Raises TypeError for too many values, and for a name that neither the schema nor `more` has.
    """
    names = [item.id for item in schema.inputs]
    if unknown := inputs.keys() - {*names, *more}:
        raise TypeError(f"{schema.node_id} has no input {', '.join(sorted(unknown))}.")
    if len(values) > len(names) or inputs.keys() & set(names[: len(values)]):
        raise TypeError(f"{schema.node_id} was called with too many values; its inputs: {', '.join(names)}.")
    return dict(zip(names, values, strict=False)) | dict(inputs)

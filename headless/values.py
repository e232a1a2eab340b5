"""Cells of a table as values of the types that inputs take."""

import reprlib
import sys
from collections.abc import Callable, Collection
from numbers import Integral
from typing import Any

from .graph import Input

TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")
LIMITS = {"INT": (-(2**63), 2**64 - 1), "FLOAT": (-sys.float_info.max, sys.float_info.max)}  # of inputs without any


def as_int(input: Input, value: Any) -> int:
    """A whole number: an integer, of numpy too, or a text or float without a fraction."""
    if isinstance(value, str | Integral):
        try:
            return int(value)
        except ValueError:
            pass  # a text such as 2.0 or 1e3
    number = as_float(input, value)
    if not number.is_integer():  # infinity and NaN are no integers either
        raise ValueError(f"expected a whole number, found {reprlib.repr(value)}")
    return int(number)


def as_float(input: Input, value: Any) -> float:
    """A number; infinity and NaN are left to the check of the range."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # OverflowError: an integer beyond the largest float
        raise ValueError(f"expected a number, found {reprlib.repr(value)}") from None


def as_bool(input: Input, value: Any) -> bool:
    """A truth value: true, yes, 1, false, no or 0, in upper or lower case."""
    text = str(value).strip().lower()
    if text not in TRUE + FALSE:
        raise ValueError(f"expected true or false, found {value!r}")
    return text in TRUE


def as_text(input: Input, value: Any) -> str:
    """A text; numbers as Python writes them. NaN is how tables of pandas mark a cell without value."""
    if value != value:
        raise ValueError(f"expected a text, found {value!r}: leave the cell empty")
    text = str(value)
    if text != text.encode("utf-8", "replace").decode("utf-8"):
        raise ValueError(f"expected a text, found half of a character in {reprlib.repr(text)}")
    return text


def as_choice(input: Input, value: Any) -> Any:
    """The server's choice that equals the value, else the choice with the same text."""
    choices = input.choices or []
    equal = [choice for choice in choices if choice == value] or [c for c in choices if str(c) == str(value)]
    if not equal:
        known = ", ".join(map(str, choices[:20])) + (", ..." if len(choices) > 20 else "")
        raise ValueError(f"the server has no {value!r}. It has {known or 'no choices for this input'}")
    return equal[0]


CONVERTERS: dict[str, Callable[[Input, Any], Any]] = {
    "INT": as_int,
    "FLOAT": as_float,
    "BOOLEAN": as_bool,
    "STRING": as_text,
    "COMBO": as_choice,
}


def as_value(input: Input, value: Any) -> Any:
    """A cell's value in the type and range of an input.

    Raises:
        ValueError: the value does not fit; the message says what was expected and what was found.
    """
    if input.kind not in CONVERTERS:
        raise ValueError(f"takes {input.kind} from another node, not a value. Name an input of that node instead")
    if isinstance(value, Collection) and not isinstance(value, str):
        raise ValueError(f"expected a single value, found {reprlib.repr(value)}")
    if input.is_picture:
        return str(value)
    converted = CONVERTERS[input.kind](input, value)
    if input.kind in LIMITS:
        low, high = (input.options.get(n, limit) for n, limit in zip(("min", "max"), LIMITS[input.kind], strict=True))
        if not low <= converted <= high:
            raise ValueError(f"expected {low} to {high}, found {reprlib.repr(value)}")
    return converted


def is_empty(input: Input, value: Any) -> bool:
    """Whether a cell leaves the graph's own value; an empty text is a value for inputs that take text."""
    return value is None or (value == "" and input.kind != "STRING")

"""A cell of a table as the value that an input takes."""

import math
from collections.abc import Callable
from typing import Any

from .graph import Input

TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def as_int(input: Input, value: Any) -> int:
    try:
        number = int(value) if isinstance(value, str | int) else float(value)
    except ValueError:
        number = as_float(input, value)
    if number != number or number in (math.inf, -math.inf) or int(number) != number:
        raise ValueError(f"expected a whole number, found {value!r}")
    return int(number)


def as_float(input: Input, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a number, found {value!r}") from None


def as_bool(input: Input, value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in TRUE + FALSE:
        raise ValueError(f"expected true or false, found {value!r}")
    return text in TRUE


def as_text(input: Input, value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def as_choice(input: Input, value: Any) -> Any:
    choices = input.choices or []
    found = [choice for choice in choices if choice == value] or [c for c in choices if str(c) == str(value)]
    if not found:
        known = ", ".join(map(str, choices[:20])) + (", ..." if len(choices) > 20 else "")
        raise ValueError(f"there is no {value!r} on the server. There is: {known or 'nothing'}")
    return found[0]


KINDS: dict[str, Callable[[Input, Any], Any]] = {
    "INT": as_int,
    "FLOAT": as_float,
    "BOOLEAN": as_bool,
    "STRING": as_text,
    "COMBO": as_choice,
}


def fit(input: Input, value: Any) -> Any:
    """The value in the input's type and range; ValueError says what was expected and what was found."""
    if input.kind not in KINDS:
        raise ValueError(f"takes {input.kind} from another node, not a value. Name an input of that node instead")
    fitted = KINDS[input.kind](input, value)
    if input.kind in ("INT", "FLOAT"):
        low, high = input.options.get("min", -math.inf), input.options.get("max", math.inf)
        if not low <= fitted <= high:
            raise ValueError(f"expected {low} to {high}, found {value}")
    return fitted


def is_empty(input: Input, value: Any) -> bool:
    """A cell that leaves the graph's own value; an empty text is a value for inputs that take text."""
    return value is None or (value == "" and input.kind != "STRING")

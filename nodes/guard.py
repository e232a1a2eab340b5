"""What comes into a node is checked before it runs. ComfyUI checks what is typed, and nothing that comes by a link:
any choice, any number, any tensor may come in so.
"""

import math
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from numbers import Integral
from typing import Any

from comfy_api.latest import io

from ..encoders.pictures import FILTERS
from ..ipadapter.checks import check_embeds, check_mask, check_pictures, check_weight, check_weights
from ..ipadapter.errors import AdapterError
from ..weight_schedules.layers import WEIGHT_TYPES
from .inputs import EmbedsType
from .old.appended import AppendedChoice, AppendedWhole
from .old.forms import UncheckedFloat, wrong_number
from .old.names import current_filter, current_name

PER_FRAME = ("weight", "weight_style", "image_weight", "weights_1", "weights_2", "frame_weights")  # may be lists
LONGEST = 1500  # characters of a message; somebody's megabyte is in the middle of longer ones

# Names that a list does not have and its nodes know: of earlier releases, and of other nodes where packs call ours.
KNOWN: dict[str, Callable[[str], bool]] = {
    "weight_type": lambda name: current_name(name) in WEIGHT_TYPES,
    "interpolation": lambda name: current_filter(name) in FILTERS,
}


def choice(item: Any, value: Any) -> str:
    options = item.options or []
    known = isinstance(value, str) and (
        value in options
        or value.replace("\\", "/") in options  # a file in a subfolder, saved on Windows
        or KNOWN.get(item.id, lambda name: False)(value)
    )
    if not known:
        listed = ", ".join(map(str, options[:40])) or "nothing to choose from"
        raise AdapterError(f"{item.id} cannot be {value!r:.80}; choose one of: {listed:.800}.")
    return value


def number(item: Any, value: Any) -> float | list[float]:
    return check_weights(value, item.id) if item.id in PER_FRAME else check_weight(value, item.id)


def as_saved(item: Any, value: Any) -> Any:
    """ComfyUI hands these on as they were saved: a flag that an earlier form left there is the node's own to read."""
    if isinstance(value, bool):
        return value
    return check_weight(float(value) if wrong_number(item, value) is None else value, item.id)


def whole(item: Any, value: Any) -> int:
    exact = int(value) if isinstance(value, Integral) or (isinstance(value, float) and value.is_integer()) else None
    low, high = (math.inf * sign if limit is None else limit for limit, sign in ((item.min, -1), (item.max, 1)))
    if exact is None or not low <= exact <= high:
        raise AdapterError(f"{item.id} cannot be {value!s:.80}; expected a whole number from {low} to {high}.")
    return exact


def text(item: Any, value: Any) -> str:
    if not isinstance(value, str):
        raise AdapterError(f"{item.id} needs a text, and got a {type(value).__name__}.")
    return value


def untouched(item: Any, value: Any) -> Any:
    return value


Check = Callable[[Any, Any], Any]
CHECKS: tuple[tuple[type | tuple[type, ...], Check], ...] = (  # the first that fits counts
    ((AppendedChoice, AppendedWhole), untouched),  # they know their own values
    (UncheckedFloat, as_saved),
    (io.Combo.Input, choice),
    (io.Int.Input, whole),
    (io.Float.Input, number),
    (io.String.Input, text),
    (io.Image.Input, lambda item, value: check_pictures(value, item.id)),
    (io.Mask.Input, lambda item, value: check_mask(value, item.id)),
    (EmbedsType.Input, lambda item, value: check_embeds(value, item.id, pairs=True)),
)


def checked(node: type[io.ComfyNode], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a node as it can work with them; AdapterError names the first that it cannot."""
    schema = node.define_schema()
    items = {item.id: item for item in schema.inputs}

    def one(id: str, value: Any) -> Any:
        item = items.get(id)
        check = next((check for kind, check in CHECKS if isinstance(item, kind)), untouched)
        return None if value is None else check(item, value)

    def all_of(id: str, value: Any) -> Any:
        return [one(id, part) for part in value] if isinstance(value, list) else one(id, value)

    return {id: (all_of if schema.is_input_list else one)(id, value) for id, value in inputs.items()}


def guard(node: type[io.ComfyNode]) -> None:
    """Let a node check what comes in before it runs, and keep its messages short enough to be read."""
    bound: Any = node.execute
    run = getattr(bound.__func__, "__wrapped__", bound.__func__)  # that of a guarded parent
    names = list(signature(run).parameters)[1:]

    @wraps(run)
    def execute(cls: type[io.ComfyNode], *values: Any, **inputs: Any) -> io.NodeOutput:
        try:
            return run(cls, **checked(cls, dict(zip(names, values, strict=False)) | inputs))
        except (ValueError, OSError) as error:
            if len(str(error)) <= LONGEST:
                raise
            half = LONGEST // 2
            raise AdapterError(f"{str(error)[:half]} ... {str(error)[-half:]}") from None

    setattr(node, "execute", classmethod(execute))  # noqa: B010 - execute is a classmethod of every node

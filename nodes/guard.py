"""Check the inputs of a node before it runs. ComfyUI checks the values of widgets, but not those of links.

KINDS lists every kind of input: how a value is read, and whether a value that cannot be read is an error or a leftover
of an older form of the node.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from comfy_api.latest import io
from torch import Tensor

from ..encoders.pictures import FILTERS
from ..ipadapter.checks import check_embeds, check_mask, check_pictures, check_weight, check_weights, is_finite
from ..ipadapter.errors import AdapterError
from ..weight_schedules.layers import WEIGHT_TYPES
from . import inputs
from .notices import say_on_node
from .old.appended import AppendedChoice, AppendedNumber, AppendedWhole
from .old.forms import UncheckedFloat, wrong_number
from .old.names import current_filter, current_name

log = logging.getLogger(__name__)

PER_FRAME = ("weight", "weight_style", "image_weight", "weights_1", "weights_2", "frame_weights")  # may be lists

# Inputs whose options had other names in earlier releases, which old workflows and other packs still send.
RENAMED: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "weight_type": (current_name, tuple(WEIGHT_TYPES)),
    "interpolation": (current_filter, tuple(FILTERS)),
}


def choice(item: io.Combo.Input, value: object) -> str:
    """An option of the list; an option's name in an earlier release becomes the present name."""
    options = list(item.options or ())
    if isinstance(value, str):
        if value in options:
            return value
        of_files = {option.replace("\\", "/"): option for option in map(str, options)}
        if (listed := of_files.get(value.replace("\\", "/"))) is not None:  # a file in a subfolder, on another system
            return listed
        current, known = RENAMED.get(item.id, (str, ()))
        if (name := current(value)) in known:
            return name
    listed = ", ".join(map(str, options[:40])) or "the list is empty"
    raise AdapterError(f"{item.id} cannot be {value!r:.80}; choose one of: {listed:.800}.")


def number(item: io.Float.Input, value: object) -> float | list[float]:
    """A number, or for weights also one number per frame: a list, or a tensor or array with one dimension."""
    plain = value.tolist() if isinstance(value, Tensor | np.ndarray) else value
    return check_weights(plain, item.id) if item.id in PER_FRAME else check_weight(plain, item.id)


def whole(item: io.Int.Input, value: object) -> int:
    """A whole number within the limits of the input; 2.0 counts as 2."""
    exact = int(value) if isinstance(value, Integral) or (isinstance(value, float) and value.is_integer()) else None
    low, high = inputs.limits_of(item)
    if exact is None or not low <= exact <= high:
        raise AdapterError(f"{item.id} cannot be {value!s:.80}; expected a whole number from {low} to {high}.")
    return exact


def text(item: io.String.Input, value: object) -> str:
    if not isinstance(value, str):
        raise AdapterError(f"{item.id} needs a text, and got a {type(value).__name__}.")
    return value


def saved_float(item: UncheckedFloat, value: object) -> object:
    """The number. True and false stay, because an earlier form of the node had a switch here, which the node reads."""
    if isinstance(value, bool):
        return value
    return check_weight(value if wrong_number(item, value) else float(value), item.id)  # pyright: ignore[reportArgumentType]


def appended_choice(item: io.Combo.Input, value: object) -> str:
    return choice(item, str(value))  # an option such as "336" may be saved as a number


def appended_whole(item: io.Int.Input, value: object) -> int:
    return whole(item, not_a_flag(item, value))


def appended_number(item: io.Float.Input, value: object) -> float:
    found = check_weight(not_a_flag(item, value), item.id)
    if wrong := wrong_number(item, found):
        raise AdapterError(wrong)
    return found


def not_a_flag(item: io.Input, value: object) -> object:
    """The value; AdapterError for true and false, which Python would treat as 1 and 0."""
    if isinstance(value, bool):
        raise AdapterError(f"{item.id} needs a number, and got {value}.")
    return value


def unchanged(item: io.Input, value: object) -> object:
    return value


def with_method(name: str, source: str) -> Callable[[io.Input, object], object]:
    """A reader of objects that have a method; AdapterError, which says what to connect, for any other value."""

    def read(item: io.Input, value: object) -> object:
        if not hasattr(value, name):
            raise AdapterError(f"{item.id} needs {source}, and got a {type(value).__name__}.")
        return value

    return read


def conditioning(item: io.Conditioning.Input, value: object) -> object:
    """A list of pairs of text and settings."""
    entries = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not all(isinstance(each, Sequence) and len(each) > 1 and isinstance(each[1], Mapping) for each in entries):
        raise AdapterError(
            f"{item.id} needs what a CLIP Text Encode gives, and got something else (a {type(value).__name__})."
        )
    return value


def latent(item: io.Latent.Input, value: object) -> object:
    """A mapping with samples; AdapterError for any other value."""
    if not isinstance(value, Mapping) or not isinstance(value.get("samples"), Tensor):
        raise AdapterError(
            f"{item.id} needs a latent, from an Empty Latent Image or VAE Encode, and got a {type(value).__name__}"
            f"{' without samples' if isinstance(value, Mapping) else ''}."
        )
    return value


def sigmas(item: io.Sigmas.Input, value: object) -> Tensor:
    """The noise levels of a run (steps + 1,); AdapterError for any other value."""
    if not isinstance(value, Tensor) or value.ndim != 1 or not is_finite(value):
        raise AdapterError(f"{item.id} needs the list of sigmas of a scheduler node, and got something else.")
    return value


@dataclass(frozen=True)
class Kind:
    """How the values of one kind of input are read.

    `read(input, value)` returns the value for the node, or raises AdapterError. If a kind is `tolerant`, a value that
    cannot be read is a leftover, and the node runs with the default.
    """

    read: Callable[[Any, object], object]
    tolerant: bool = False


KINDS: dict[type[io.Input], Kind] = {
    AppendedChoice: Kind(appended_choice, tolerant=True),
    AppendedWhole: Kind(appended_whole, tolerant=True),
    AppendedNumber: Kind(appended_number, tolerant=True),
    UncheckedFloat: Kind(saved_float),
    inputs.Choice: Kind(choice),
    io.Int.Input: Kind(whole),
    io.Float.Input: Kind(number),
    io.String.Input: Kind(text),
    io.Image.Input: Kind(lambda item, value: check_pictures(value, item.id)),
    io.Mask.Input: Kind(lambda item, value: check_mask(value, item.id)),
    inputs.EmbedsType.Input: Kind(lambda item, value: check_embeds(value, item.id, pairs=True)),
    io.Model.Input: Kind(with_method("get_model_object", "a model from a loader or another node")),
    io.Conditioning.Input: Kind(conditioning),
    inputs.ScheduleType.Input: Kind(with_method("resolve", "a schedule from an IPAdapter Weight Schedule")),
    io.Latent.Input: Kind(latent),
    io.Sigmas.Input: Kind(sigmas),
    io.Vae.Input: Kind(with_method("decode", "a VAE from Load VAE or a checkpoint")),
    inputs.AttentionType.Input: Kind(with_method("seen", "what an IPAdapter Attention Recorder gives")),
    # Checked by the code that uses them, because a type does not say enough.
    io.Boolean.Input: Kind(unchanged),
    io.ClipVision.Input: Kind(unchanged),
    io.MultiType.Input: Kind(unchanged),
    inputs.IPAdapterType.Input: Kind(unchanged),
    inputs.InsightFaceType.Input: Kind(unchanged),
    inputs.ParamsType.Input: Kind(unchanged),
    inputs.StrategyType.Input: Kind(unchanged),
    inputs.CurveType.Input: Kind(unchanged),
    inputs.BoxesType.Input: Kind(unchanged),
    inputs.FaceEmbedsType.Input: Kind(unchanged),
    inputs.OptionsType.Input: Kind(unchanged),
    io.ControlNet.Input: Kind(unchanged),
}


def checked(schema: io.Schema, values: Mapping[str, object]) -> dict[str, Any]:
    """The inputs of a node, read by their kinds, without those that are None, which are not connected.

    Values whose names are not in the schema stay unchanged. AdapterError for the first value that cannot be used.
    """
    items = {item.id: item for item in schema.inputs}
    given = {id: value for id, value in values.items() if value is not None}
    tolerant = [id for id in given if id in items and KINDS[type(items[id])].tolerant]

    def read(id: str) -> object:
        if id not in items:
            return given[id]
        item, value = items[id], given[id]
        kind = KINDS[type(item)]
        if schema.is_input_list and isinstance(value, list):
            return [kind.read(item, part) for part in value]
        return kind.read(item, value)

    good = {id: read(id) for id in given if id not in tolerant}
    try:
        return good | {id: read(id) for id in tolerant}
    except AdapterError:
        say_leftovers(schema, {id: given[id] for id in tolerant})
        return good


def say_leftovers(schema: io.Schema, values: Mapping[str, object]) -> None:
    """Note in the log and on the node that the values of its appended widgets are leftovers and were not used."""
    found = ", ".join(f"{id} = {value!r}" for id, value in values.items())
    note = f"Left over from another version of this node and not used: {found}. Choose values of the list to use them."
    if any(isinstance(value, str) and ":" in value for value in values.values()):  # FaceID's of 9 April 2024
        note += " Layer weights are set on IPAdapter Mad Scientist."
    log.warning("%s: %s", schema.display_name, note)
    say_on_node(note)

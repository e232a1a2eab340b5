"""Write weight schedules as JSON text and read them, so that users can save, send and edit them."""

import json
from dataclasses import MISSING, fields
from typing import Any

from .schedule import CombinedSchedule, Schedule, WeightSchedule
from .steps import StepCurve

VERSION = 1
NUMBER = (int, float)
KINDS: dict[str, tuple[type, ...]] = {  # types of an entry's value, in schedules, combinations and step curves alike
    **dict.fromkeys(("layers", "shape", "between", "method"), (str,)),
    **dict.fromkeys(("scale", "low", "high", "start", "end"), NUMBER),
    **dict.fromkeys(("composition", "boost"), (*NUMBER, type(None))),
    **dict.fromkeys(("frames", "points"), (list,)),
    **dict.fromkeys(("steps", "first", "second"), (dict,)),
}


def to_json(schedule: Schedule) -> str:
    """The schedule as JSON text; entries that have their default value are left out."""
    return json.dumps({"version": VERSION, "schedule": _plain(schedule)}, indent=2)


def _plain(value: Any) -> Any:
    if not isinstance(value, (WeightSchedule, CombinedSchedule, StepCurve)):
        return value
    entries = {}
    for entry in fields(value):
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if getattr(value, entry.name) != default:
            entries[entry.name] = _plain(getattr(value, entry.name))
    return entries


def from_json(text: str) -> Schedule:
    """The schedule in a text that `to_json` wrote; ValueError says what is wrong with any other text."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or not {"version", "schedule"} <= data.keys():
            raise ValueError('It needs the entries "version" and "schedule".')
        if isinstance(data["version"], bool) or data["version"] != VERSION:  # True == 1
            raise ValueError(f"It has version {data['version']!r:.40}, and this release reads version {VERSION}.")
        return _schedule(data["schedule"])
    except json.JSONDecodeError as error:
        raise ValueError(f"This text is not a weight schedule: it is not JSON ({error}).") from error
    except RecursionError as error:
        raise ValueError("This text is not a weight schedule: it is nested too deeply.") from error
    except OverflowError as error:  # JSON's whole numbers have no upper bound
        raise ValueError("This text is not a weight schedule: a number in it is too large.") from error
    except ValueError as error:
        raise ValueError(f"This text is not a weight schedule. {error}") from error


def _schedule(data: Any) -> Schedule:
    if isinstance(data, dict) and "method" in data:
        entries = _entries(data, CombinedSchedule)
        missing = [name for name in ("first", "second") if name not in entries]
        if missing:
            raise ValueError(f"A combination needs {' and '.join(missing)}.")
        return CombinedSchedule(
            **{**entries, "first": _schedule(entries["first"]), "second": _schedule(entries["second"])}
        )
    entries = _entries(data, WeightSchedule)
    if "steps" in entries:
        entries["steps"] = StepCurve(**_entries(entries["steps"], StepCurve))
    return WeightSchedule(**entries)


def _entries(data: Any, kind: type) -> dict[str, Any]:
    known = [entry.name for entry in fields(kind)]
    if not isinstance(data, dict):
        raise ValueError(f"Expected an object with {', '.join(known)}, got {data!r:.80}.")
    for name, value in data.items():
        if name not in known:
            raise ValueError(f"Unknown entry {name!r:.80}. Known here: {', '.join(known)}.")
        if not isinstance(value, KINDS[name]) or isinstance(value, bool):
            raise ValueError(f"The entry '{name}' cannot be {value!r:.80}.")
    for name, width in (("frames", 0), ("points", 2)):
        if not all(_is_numbers(value, width) for value in data.get(name, [])):
            raise ValueError(f"The entry '{name}' cannot be {data[name]!r:.80}.")
    return dict(data)


def _is_numbers(value: Any, width: int) -> bool:
    """Whether a JSON value is one number (width 0), or a list of `width` of them."""
    if width == 0:
        return isinstance(value, NUMBER) and not isinstance(value, bool)
    return isinstance(value, list) and len(value) == width and all(_is_numbers(item, 0) for item in value)

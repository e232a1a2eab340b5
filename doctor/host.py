"""Compare a ComfyUI's sources with what the pack relies on: python atelier.py host PATH, and once when the pack loads.

Sources are read as text and never run, so that any folder can be checked, with Python alone, in a few milliseconds.
"""

import ast
import logging
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .host_needs import NEEDS, OLDEST, Need

log = logging.getLogger(__name__)
NEWEST = "0.30.0"  # the newest release that the tests were run on
GONE, CHANGED = "gone", "changed"
DEFINITION = re.compile(
    r"(?P<indent> *)(?:(?:async )?(?P<kind>def|class) +(?P<name>\w+)|(?P<variable>\w+) *(?::[^=]+)?=(?!=))"
)
HEAD = re.compile(r"def \w+\((.*?)\)(?:\s*->[^:]+)?:\s*(?:#.*)?$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Gap:
    """A need that a ComfyUI does not meet: `gone`, or `changed` with what was expected and found."""

    need: Need
    state: str
    detail: str

    @property
    def bridged(self) -> bool:
        """Whether the pack has another way, which it takes on releases older than the need."""
        return self.state == GONE and self.need.since != OLDEST

    def __str__(self) -> str:
        return f"{self.detail} ({self.need.file}) is {self.state}"


@dataclass(frozen=True)
class Checked:
    """What was found in a ComfyUI's folder."""

    folder: Path
    release: str
    gaps: tuple[Gap, ...]

    @property
    def broken(self) -> tuple[Gap, ...]:
        """The gaps that the pack has no way around."""
        return tuple(gap for gap in self.gaps if not gap.bridged)

    def refused(self, structure: str) -> tuple[Gap, ...]:
        """Why image prompts in models of a structure are refused; empty where they work."""
        return tuple(gap for gap in self.broken if structure in gap.need.refused)


@cache
def check_host(folder: Path) -> Checked:
    """Compare every need with the sources in a ComfyUI's folder; the same folder is read once."""
    version = _read(folder / "comfyui_version.py") or ""
    found = re.search(r'__version__ = "(.+?)"', version)
    sources = {file: _read(folder / file) for file in {need.file for need in NEEDS}}
    gaps = (compare(need, sources[need.file]) for need in NEEDS)
    return Checked(folder, found[1] if found else "of unknown release", tuple(gap for gap in gaps if gap))


def compare(need: Need, source: str | None) -> Gap | None:
    """The gap between a need and the text of its file (None: there is no such file); None where there is none."""
    if source is None:
        return Gap(need, GONE, need.name or need.texts[0])
    for text in need.texts:
        if text not in source and text.replace('"', "'") not in source:
            return Gap(need, GONE, text)
    if not need.name:
        return None
    if (offset := definitions(source).get(need.name)) is None:
        return Gap(need, GONE, need.name)
    if not need.takes and not need.keywords:
        return None
    found = parameters(source, offset)
    missing = [word for word in need.keywords if word not in found]  # **kwargs would take it and ignore it
    if tuple(found[: len(need.takes)]) == need.takes and not missing:
        return None
    wanted = ", ".join((*need.takes, *(f"{word}=" for word in need.keywords)))
    return Gap(need, CHANGED, f"{need.name}({', '.join(found)}), which the pack calls as ({wanted}),")


def report(checked: Checked) -> str:
    """What the check says, a line for each gap."""
    met, known = len(NEEDS) - len(checked.gaps), len(NEEDS)
    lines = [f"ComfyUI {checked.release} in {checked.folder}: {met} of {known} needs are met."]
    lines += [f"  {gap}. Does not work: {gap.need.lost}." for gap in checked.broken]
    lines += [
        f"  {gap.detail} ({gap.need.file}; since {gap.need.since}) is not there. Another way: {gap.need.lost}."
        for gap in checked.gaps
        if gap.bridged
    ]
    if checked.broken:
        lines.append(f"The pack is tested on ComfyUI {OLDEST} to {NEWEST}: update the pack, or use one of these.")
    return "\n".join(lines)


def warn_of_gaps(folder: Path) -> None:
    """Log one line for each gap of the running ComfyUI that the pack has no way around."""
    checked = check_host(folder)
    for gap in checked.broken:
        log.warning(
            "ComfyUI %s has no longer what the IPAdapter nodes rely on: %s. Does not work: %s.",
            checked.release, gap, gap.need.lost,
        )  # fmt: skip


def _read(file: Path) -> str | None:
    return file.read_text("utf-8") if file.is_file() else None


@cache
def definitions(source: str) -> dict[str, int]:
    """Where a module defines its functions, classes and variables, and those of its classes: offsets by name."""
    found: dict[str, int] = {}
    owner, offset = "", 0
    for line in source.splitlines(keepends=True):
        head = DEFINITION.match(line)
        if line[0] not in " \t\r\n#)":
            owner = f"{head['name']}." if head and head["kind"] else ""
        if head and (name := head["name"] or head["variable"]):
            inside = bool(head["indent"])
            if not inside or not owner or (len(head["indent"]) == 4 and found.get(owner[:-1], -1) >= 0):
                found.setdefault(f"{owner if inside else ''}{name}", offset)
        offset += len(line)
    return found


def parameters(source: str, offset: int) -> list[str]:
    """The parameters behind `self` of the function that begins there, in order; "*" and "**" for any number."""
    head = HEAD.search(source, offset)
    if head is None:
        return []
    function = ast.parse(f"def f({head[1]}): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    marks = (["*"] if given.vararg else []) + (["**"] if given.kwarg else [])
    return [part for part in (*names, *marks) if part not in ("self", "cls")]

"""Check the source code of a ComfyUI for the functions and options that the pack uses (its needs).

`python atelier.py host PATH` runs the check, and so does the pack once when it loads. Sources are read as text and not
executed, so any folder can be checked, without other packages, in a few milliseconds.
"""

import ast
import logging
import re
import tokenize
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from .host_needs import LEAST_TORCH, MORE, NEEDS, OLDEST, Need

log = logging.getLogger(__name__)
NEWEST = "0.30.0"  # the newest release that the tests were run on
GONE, CHANGED = "gone", "changed"
DEFINITION = re.compile(
    r"(?P<indent> *)(?:(?:async )?(?P<kind>def|class) +(?P<name>\w+)|(?P<variable>\w+) *(?::[^=]+)?=(?!=))"
)


@dataclass(frozen=True)
class Fault:
    """A fault of ComfyUI itself, in its releases from `first` (major, minor) to before `mended`."""

    first: tuple[int, int]
    mended: tuple[int, int]
    text: str


FAULTS = (
    Fault(
        (0, 31), (0, 32),
        "its CLIP Vision encoders have a fault (change #15506 of ComfyUI), so references may be encoded wrongly or not "
        "at all",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Gap:
    """A need that a ComfyUI does not meet: its name or text is `gone`, or a function's parameters have `changed`."""

    need: Need
    state: str
    detail: str

    @property
    def spared(self) -> bool:
        """Whether the pack works without it, as `need.lost` describes."""
        return self.state == GONE and self.need.spare

    def __str__(self) -> str:
        return f"{self.detail} ({self.need.file}) is {self.state}"


@dataclass(frozen=True)
class Checked:
    """The result of the check: the ComfyUI's folder, its release, and its gaps."""

    folder: Path
    release: str
    gaps: tuple[Gap, ...]

    @property
    def broken(self) -> tuple[Gap, ...]:
        """The gaps by which a part of the pack does not work that works in other releases as old as this one."""
        return tuple(gap for gap in self.gaps if not (gap.spared or self.precedes(gap)))

    @property
    def faults(self) -> tuple[str, ...]:
        """Known faults of this release of ComfyUI itself, each with the release that mends it."""
        number = _numbers(self.release)
        return tuple(
            f"{fault.text}. Update ComfyUI to {'.'.join(map(str, fault.mended))} or later"
            for fault in FAULTS
            if fault.first <= number < fault.mended
        )

    def precedes(self, gap: Gap) -> bool:
        """Whether this release is older than what it lacks."""
        number = _numbers(self.release)
        return gap.state == GONE and bool(number) and number < _numbers(gap.need.since)

    def refused(self, part: str) -> tuple[Gap, ...]:
        """The gaps because of which a part of the pack is refused (a name in `Need.refused`); empty if it works."""
        return tuple(gap for gap in self.gaps if part in gap.need.refused and not gap.spared)


@cache
def check_host(folder: Path) -> Checked:
    """Compare every need with the sources in a ComfyUI's folder; the result is cached by folder."""
    version = _read(folder / "comfyui_version.py") or ""
    found = re.search(r'__version__ = "(.+?)"', version)
    sources = {file: _read(folder / file) for file in {need.file for need in NEEDS}}
    gaps = (compare(need, sources[need.file]) for need in NEEDS)
    gaps = (_where_it_moved(gap, folder, sources[gap.need.file]) for gap in gaps if gap)
    return Checked(folder, found[1] if found else "of unknown release", tuple(gap for gap in gaps if gap))


def _where_it_moved(gap: Gap, folder: Path, source: str | None) -> Gap | None:
    """The gap of a need in the file from which its own file imports the name; the same gap if it imports none."""
    owner, _, attribute = gap.need.name.partition(".")
    if gap.state != GONE or gap.detail != gap.need.name or not source:
        return gap
    for node in (node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)):
        for alias in node.names:
            if (alias.asname or alias.name) == owner:
                near = (folder / gap.need.file).parents[node.level - 1] if node.level else folder
                module = near.joinpath(*(node.module or "").split("."))
                moved = _read(module.with_suffix(".py")) or _read(module / "__init__.py")
                name = f"{alias.name}.{attribute}" if attribute else alias.name
                found = compare(replace(gap.need, name=name), f"{moved}\n{source}") if moved else gap
                return found and replace(found, need=gap.need)
    return gap


def compare(need: Need, source: str | None) -> Gap | None:
    """The gap between a need and the source of its file (None for a missing file); None if the need is met."""
    if source is None:
        return Gap(need, GONE, need.name or need.texts[0])
    for text in need.texts:
        if not any(_contains(source, quoted) for quoted in (text, text.replace('"', "'"))):
            return Gap(need, GONE, text)
    if not need.name:
        return None
    if (offset := definitions(source).get(need.name)) is None:
        return Gap(need, GONE, need.name)
    if not need.takes and not need.keywords:
        return None
    if (found := parameters(source, offset)) is None or found.accept(need):
        return None
    wanted = ", ".join((*need.takes, *(f"{word}=" for word in need.keywords)))
    return Gap(need, CHANGED, f"{need.name}({found}), which the pack calls as ({wanted}),")


def _contains(source: str, text: str) -> bool:
    """Whether a source has a text, and not only as the beginning of a longer name."""
    return text in source and (not text[-1].isidentifier() or re.search(rf"{re.escape(text)}\b", source) is not None)


def report(checked: Checked) -> str:
    """The result of the check as text for users, with a line for each gap."""
    met, known = len(NEEDS) - len(checked.gaps), len(NEEDS)
    lines = [f"ComfyUI {checked.release} in {checked.folder}: {met} of {known} needs are met."]
    lines += [f"  {gap}. Does not work: {gap.need.lost}." for gap in checked.broken]
    spared = [gap for gap in checked.gaps if gap.spared]
    lines += [f"  {gap.detail} ({gap.need.file}) is not there. Another way: {gap.need.lost}." for gap in spared]
    lines += [
        f"  {gap.detail} ({gap.need.file}) came with ComfyUI {gap.need.since}, and with it: {gap.need.lost}."
        for gap in checked.gaps
        if checked.precedes(gap) and not gap.spared
    ]
    lines += [f"  ComfyUI {checked.release}: {fault}." for fault in checked.faults]
    if checked.broken:
        lines.append(f"The pack is tested on ComfyUI {OLDEST} to {NEWEST}: update the pack, or use one of these.")
    return "\n".join(lines)


def warn_of_gaps(folder: Path) -> None:
    """Log a warning for each `broken` gap of the running ComfyUI, for its known faults, and for an old PyTorch."""
    import torch  # `atelier.py host` runs without it

    checked = check_host(folder)
    for fault in checked.faults:
        log.warning("ComfyUI %s: %s.", checked.release, fault)
    if note := old_torch(str(torch.__version__)):
        log.warning("IPAdapter nodes: %s", note)
    for gap in checked.broken:
        log.warning(
            "ComfyUI %s has no longer what the IPAdapter nodes rely on: %s. Does not work: %s.",
            checked.release, gap, gap.need.lost,
        )  # fmt: skip


def old_torch(version: str) -> str:
    """A note on a PyTorch older than LEAST_TORCH; empty for others."""
    if _numbers(version)[:2] >= LEAST_TORCH:
        return ""
    least = ".".join(map(str, LEAST_TORCH))
    return (
        f"PyTorch {version} is older than {least}, which ComfyUI needs since 0.32. The nodes are not tested on it: "
        "update PyTorch, as ComfyUI's page on installation says."
    )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with; empty for a text without any."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _read(file: Path) -> str | None:
    return file.read_text("utf-8") if file.is_file() else None


@cache
def definitions(source: str) -> dict[str, int]:
    """The offsets, in characters, of a module's functions, classes and variables, and of class attributes, by name.

    The name of a class attribute is Class.attribute.
    """
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


@dataclass(frozen=True)
class Parameters:
    """The parameters of a function, without `self` or `cls`; "*" and "**" stand for *args and **kwargs."""

    by_place: tuple[str, ...]  # in order; "/" follows those that have no name for the caller
    by_name: tuple[str, ...]  # after "*"
    required: frozenset[str]  # those without a default

    def __str__(self) -> str:
        return ", ".join((*self.by_place, *self.by_name))

    def accept(self, need: Need) -> bool:
        """Whether the pack's call or, of a function that it stands in for, ComfyUI's call fits them."""
        places = [name for name in self.by_place if name != "/"]
        names = (*self.by_place, *self.by_name)
        named = names[names.index("/") + 1 :] if "/" in names else names  # **kwargs would ignore others
        more = need.takes[-1:] == (MORE,)
        takes = need.takes[:-1] if more else need.takes
        return (
            tuple(places[: len(takes)]) == takes
            and set(need.keywords) <= set(named)
            and (more or self.required <= {*takes, *need.keywords})
        )


def parameters(source: str, offset: int) -> Parameters | None:
    """The parameters of the function at an offset.

    None if another definition begins there, such as a second name of a function, whose parameters are not known.
    """
    head = head_of(source[offset:]).strip()
    if not re.match(r"(async )?def ", head):
        return None
    function = ast.parse(f"{head}: ...").body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    given = function.args
    places = [*given.posonlyargs, *given.args]
    bare = places[: len(places) - len(given.defaults)]
    bare += [part for part, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    own = ("self", "cls")
    nameless = [part.arg for part in given.posonlyargs if part.arg not in own]
    by_place = [*nameless, *(["/"] if nameless else []), *(part.arg for part in given.args if part.arg not in own)]
    by_name = [part.arg for part in given.kwonlyargs]
    by_name = [*(["*"] if given.vararg or by_name else []), *by_name, *(["**"] if given.kwarg else [])]
    return Parameters(tuple(by_place), tuple(by_name), frozenset(part.arg for part in bare if part.arg not in own))


def head_of(source: str) -> str:
    """The text of a definition up to the colon behind its head, which may be followed by a body in the same line."""
    lines, depth = source.splitlines(keepends=True), 0
    for token in tokenize.generate_tokens(iter(lines).__next__):
        depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
        if token.string == ":" and not depth:
            row, column = token.start
            return "".join(lines[: row - 1]) + lines[row - 1][:column]
        if token.type == tokenize.NEWLINE:
            break
    return ""

"""A batch as one picture: one or two columns that vary become labelled axes, more become captions."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath

from PIL import Image, UnidentifiedImageError

from charts.sheets import contact_sheet, labelled_grid

from .graph import Input
from .results import Outcome

MOST = 400  # pictures on a sheet
CELL = 192  # pixels, the longer side of a picture on the sheet


def label(input: Input, value: str) -> str:
    """A value as a label: a file in a folder by its name without folder and suffix, other values as they are."""
    path = PureWindowsPath(value)  # splits at both slashes; a choice without a suffix, such as "K+V w/ C", is no path
    is_path = path.name != value and (input.is_picture or bool(input.kind == "COMBO" and path.suffix))
    return path.stem if is_path else value


def labels(input: Input, values: Sequence[str]) -> dict[str, str]:
    """Labels by value: whole values where two of them would have the same label."""
    short = {value: label(input, value) for value in values}
    return short if len(set(short.values())) == len(short) else {value: value for value in values}


def open_picture(folder: Path, outcome: Outcome | None) -> Image.Image | None:
    """A row's first picture; None for a row without files, or with another kind of file (a video, a sound)."""
    if outcome is None or not outcome.files:
        return None
    try:
        with Image.open(folder / outcome.files[0]) as opened:
            return opened.convert("RGB")
    except UnidentifiedImageError:
        return None


def draw_sheet(folder: Path, outcomes: Sequence[Outcome], inputs: Mapping[str, Input]) -> Image.Image | None:
    """The sheet of a batch in `folder`, from the first MOST rows; None when they have no pictures.

    `inputs` are the inputs that the columns name.
    """
    outcomes = outcomes[:MOST]
    values = {c: ["" if o.values[c] is None else str(o.values[c]) for o in outcomes] for c in inputs}
    names = {c: labels(inputs[c], list(dict.fromkeys(values[c]))) for c in inputs}
    varied = [column for column in inputs if len(names[column]) > 1]
    cells = {tuple(values[column][n] for column in varied): outcome for n, outcome in enumerate(outcomes)}
    if len(varied) in (1, 2) and len(cells) == len(outcomes):
        down, across = (varied[0], varied[1]) if len(varied) == 2 else (None, varied[0])
        rows = names[down] if down else {"": ""}
        shown = [cells.get((row, column) if down else (column,)) for row in rows for column in names[across]]
        title = f"{down} down, {across} across" if down else across
        pictures = fill([open_picture(folder, outcome) for outcome in shown])
        return labelled_grid(pictures, [*rows.values()], [*names[across].values()], title, CELL) if pictures else None
    captions = [f"{o.row}: " + ", ".join(names[c][values[c][n]] for c in varied) for n, o in enumerate(outcomes)]
    pictures = fill([open_picture(folder, outcome) for outcome in outcomes])
    return contact_sheet(pictures, captions, cell=CELL) if pictures else None


def fill(pictures: Sequence[Image.Image | None]) -> list[Image.Image]:
    """The pictures, with grey for rows that have none; an empty list when no row has a picture."""
    first = next((picture for picture in pictures if picture), None)
    if first is None:
        return []
    return [picture or Image.new("RGB", first.size, "#c0c0c0") for picture in pictures]

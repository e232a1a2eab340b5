"""A batch on one sheet: one or two varied columns become labelled axes, more become captions."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from .process import ROOT
from .results import Outcome

MOST = 400  # pictures on a sheet
PACK = "atelier_pack"


def import_sheets() -> Any:
    """The pack's own sheets. It imports itself relatively, so its folder is loaded as a package, as ComfyUI does."""
    if PACK not in sys.modules:
        spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py")
        assert spec and spec.loader
        sys.modules[PACK] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACK])
    return importlib.import_module(f"{PACK}.charts.sheets")


def label(value: object) -> str:
    text = "" if value is None else str(value)
    return Path(text).stem if "/" in text or "\\" in text else text


def open_picture(folder: Path, outcome: Outcome | None) -> Image.Image | None:
    """A row's first picture; None where there is none, or where it is no picture (a film, a sound)."""
    if outcome is None or not outcome.files:
        return None
    try:
        with Image.open(folder / outcome.files[0]) as opened:
            return opened.convert("RGB")
    except UnidentifiedImageError:
        return None


def draw_sheet(folder: Path, outcomes: Sequence[Outcome]) -> Image.Image | None:
    """The sheet of a batch, at most MOST pictures; None when it made no pictures."""
    sheets = import_sheets()
    outcomes = sorted(outcomes, key=lambda outcome: outcome.row)[:MOST]
    columns = list(dict.fromkeys(column for outcome in outcomes for column in outcome.values))
    values = {c: list(dict.fromkeys(label(outcome.values.get(c)) for outcome in outcomes)) for c in columns}
    varied = [column for column in columns if len(values[column]) > 1]
    places = {tuple(label(outcome.values.get(c)) for c in varied): outcome for outcome in outcomes}
    if len(varied) in (1, 2) and len(places) == len(outcomes):
        down, across = (varied[0], varied[1]) if len(varied) == 2 else (None, varied[0])
        rows = values[down] if down else [""]
        cells = [places.get((row, column) if down else (column,)) for row in rows for column in values[across]]
        pictures = fill([open_picture(folder, outcome) for outcome in cells])
        title = f"{down} down, {across} across" if down else across
        return sheets.labelled_grid(pictures, rows, values[across], title, cell=192) if pictures else None
    pictures = fill([open_picture(folder, outcome) for outcome in outcomes])
    captions = [f"{o.row}: " + ", ".join(label(o.values.get(c)) for c in varied) for o in outcomes]
    return sheets.contact_sheet(pictures, captions, cell=192) if pictures else None


def fill(pictures: Sequence[Image.Image | None]) -> list[Image.Image]:
    """Grey where a row has no picture; nothing when no row has one."""
    first = next((picture for picture in pictures if picture), None)
    if first is None:
        return []
    return [picture or Image.new("RGB", first.size, "#c0c0c0") for picture in pictures]

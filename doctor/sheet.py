"""The doctor's report as a picture: a table of presets and families, a list of files, and packages."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from ..ipadapter.families import FAMILIES
from .report import Report
from .survey import BROKEN, FINE, Found
from .verdicts import Verdict, partners

Colour = tuple[int, int, int]
INK, FAINT, PAPER, LINE = (236, 236, 240), (154, 156, 168), (27, 28, 34), (52, 54, 64)
GOOD, DOUBT, BAD = (110, 210, 140), (250, 196, 92), (255, 120, 110)
MARKS = {GOOD: "+", DOUBT: "!", BAD: "x"}  # for people who cannot tell the colours apart
WIDTH, ROW, MARGIN, COLUMN, PRESET, SPLIT = 1600, 30, 28, 118, 292, 720
MOST_FILES = 24
WORDS = {
    "adapter": "adapter", "encoder": "encoder", "face pack": "face pack", "lora": "LoRA", "controlnet": "ControlNet",
    "face parser": "parser",
}  # fmt: skip


def draw_report(report: Report) -> Image.Image:
    """Draw the report, 1600 pixels wide; files that do not fit are counted, and listed in the text only."""
    presets = list(dict.fromkeys(verdict.preset for verdict in report.verdicts))
    files = first_files(report)
    rows = max(len(presets) + 1, len(files) + (len(files) < _all(report)))
    height = 3 * MARGIN + ROW * (rows + 3 + len(report.packages)) + 24
    picture = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(picture)
    _write(draw, (MARGIN, MARGIN + 8), report.summary, 21, INK)
    top = 2 * MARGIN + ROW
    _draw_presets(draw, top, presets, report.verdicts)
    _draw_files(draw, top, files, report)
    _draw_packages(draw, height - MARGIN - ROW * len(report.packages), report)
    return picture


def first_files(report: Report) -> list[Found]:
    """The files that fit on the picture, those with a problem first."""
    order = {BROKEN: 0, FINE: 2}
    files = sorted([*report.files, *report.packs], key=lambda file: order.get(file.state, 1))
    return files[:MOST_FILES]


def _all(report: Report) -> int:
    return len(report.files) + len(report.packs)


def _draw_presets(draw: ImageDraw.ImageDraw, top: int, presets: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    families = list(dict.fromkeys(verdict.family for verdict in verdicts))
    for number, family in enumerate(families):
        _write(draw, (MARGIN + PRESET + number * COLUMN, top), FAMILIES[family].title, 15, FAINT)
    for row, preset in enumerate(presets, start=1):
        y = top + row * ROW
        draw.line([(MARGIN, y - ROW // 2), (SPLIT - MARGIN, y - ROW // 2)], LINE)
        _write(draw, (MARGIN, y), preset, 15, INK, PRESET - 14)
        for verdict in (one for one in verdicts if one.preset == preset):
            x = MARGIN + PRESET + families.index(verdict.family) * COLUMN
            colour, words = outcome(verdict)
            _write(draw, (x, y), f"{MARKS[colour]} {words}", 15, colour, COLUMN - 6)


def outcome(verdict: Verdict) -> tuple[Colour, str]:
    """Colour and short text for a preset's cell."""
    kinds = list(dict.fromkeys(WORDS[file.kind] for file in verdict.missing))
    if verdict.runs:
        return (DOUBT, f"no {kinds[0] if kinds else WORDS['lora']}") if verdict.note else (GOOD, "runs")
    if verdict.cause == "several":
        return BAD, "several files"
    if not kinds:  # an encoder that is not in the catalogue
        return BAD, "no encoder"
    return BAD, f"no {kinds[0]}" + (f" +{len(kinds) - 1}" if len(kinds) > 1 else "")


def _draw_files(draw: ImageDraw.ImageDraw, top: int, files: Sequence[Found], report: Report) -> None:
    packs = [pack.name for pack in report.packs if pack.state == FINE]
    _write(draw, (SPLIT, top), "files, by their tensors", 15, FAINT)
    for row, file in enumerate(files, start=1):
        y = top + row * ROW
        draw.line([(SPLIT, y - ROW // 2), (WIDTH - MARGIN, y - ROW // 2)], LINE)
        missing = partners(file, report.files, packs)[1]
        colour = {BROKEN: BAD, FINE: DOUBT if missing else GOOD}.get(file.state, DOUBT)
        said = file.note or (f"misses {', '.join(missing)}" if missing else "")
        _write(draw, (SPLIT, y), MARKS[colour], 15, colour)
        _write(draw, (SPLIT + 18, y), f"{file.folder}/{file.name}", 14, INK, 396)
        _write(draw, (SPLIT + 426, y), said or file.title, 14, colour if said else FAINT, WIDTH - SPLIT - 426 - MARGIN)
    if not files:
        _write(draw, (SPLIT, top + ROW), "no model files yet: the text says which file goes where", 15, DOUBT)
    if (more := _all(report) - len(files)) > 0:
        y = top + (len(files) + 1) * ROW
        _write(draw, (SPLIT, y), f"and {more} more, in the text", 14, FAINT)


def _draw_packages(draw: ImageDraw.ImageDraw, top: int, report: Report) -> None:
    draw.line([(MARGIN, top - ROW // 2), (WIDTH - MARGIN, top - ROW // 2)], LINE)
    for row, package in enumerate(report.packages):
        colour = BAD if package.fault else GOOD
        said = package.fault or f"{package.version}  {package.note}"
        _write(draw, (MARGIN, top + row * ROW), f"{MARKS[colour]} {package.name}", 15, colour)
        _write(draw, (MARGIN + 150, top + row * ROW), said, 14, BAD if package.fault else FAINT, WIDTH - 200)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: Colour, width: int = WIDTH
) -> None:
    """Draw a line of text with its left middle `at` x, y; text wider than `width` pixels is cut and ends in "..."."""
    font = ImageFont.load_default(size)
    text = " ".join(text.split())
    if draw.textlength(text, font) > width:
        while text and draw.textlength(f"{text}...", font) > width:
            text = text[:-1]
        text += "..."
    draw.text(at, text, colour, font, "lm")

"""The demo's contact sheet: a row for each idea, its references on the left, a label over every picture."""

import textwrap
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

TILE, LABEL, GAP = 144, 20, 8
COLUMNS = 8
LINE = 18  # pixels of a caption's line
HEAD = 250  # pixels for a row's title, caption and references
MARGIN = 20


@dataclass(frozen=True)
class Row:
    """Pictures that belong together, what they show, and the references they follow."""

    title: str
    caption: str
    references: dict[str, Image.Image]
    pictures: dict[str, Image.Image]

    @property
    def lines(self) -> int:
        return -(-len(self.pictures) // COLUMNS)

    @property
    def height(self) -> int:
        return self.lines * (TILE + LABEL + GAP) + 2 * GAP


def contact_sheet(rows: list[Row]) -> Image.Image:
    width = HEAD + min(COLUMNS, max(len(row.pictures) for row in rows)) * (TILE + GAP) + 2 * MARGIN
    sheet = Image.new("RGB", (width, sum(row.height for row in rows) + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for row in rows:
        draw.line([MARGIN, y, width - MARGIN, y], fill="#d0d0d0")
        _head(sheet, draw, row, y + GAP)
        for number, (name, picture) in enumerate(row.pictures.items()):
            x = MARGIN + HEAD + number % COLUMNS * (TILE + GAP)
            top = y + GAP + number // COLUMNS * (TILE + LABEL + GAP)
            draw.text((x, top + 2), name, fill="#202020", font=ImageFont.load_default(13))
            sheet.paste(_enlarged(picture, TILE), (x, top + LABEL))
        y += row.height
    return sheet


def _head(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Row, y: int) -> None:
    draw.text((MARGIN, y), row.title, fill="black", font=ImageFont.load_default(18))
    caption = textwrap.fill(row.caption, 36)
    draw.multiline_text((MARGIN, y + 26), caption, fill="#505050", font=ImageFont.load_default(13))
    side = 80
    words = 26 + LINE * (caption.count("\n") + 1) + GAP
    below = max(TILE + LABEL - side, words)  # a caption may be as high as a row of two lines
    for number, picture in enumerate(row.references.values()):
        sheet.paste(_enlarged(picture, side), (MARGIN + number * (side + GAP), y + below))


def _enlarged(picture: Image.Image, side: int) -> Image.Image:
    return picture.resize((side, side), Image.Resampling.LANCZOS)

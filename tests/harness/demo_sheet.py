"""The demo's sheets: a row for each idea, its references before its pictures, a label over each.

Pictures are enlarged by whole numbers, so that every pixel of the models is a sharp square.
"""

import textwrap
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

ENLARGED = 2  # pixels of a sheet along the side of a picture's pixel
TILE = 96 * ENLARGED
LABEL, GAP, MARGIN = 24, 10, 24
HEAD = 58  # pixels for a row's title and the first line of its caption
LINE = 20  # pixels of a further line
ARROW = 40  # between references and pictures
PAPER, INK, GREY = "white", "#202020", "#505050"


@dataclass(frozen=True)
class Row:
    """Pictures that belong together, what they show, and the references they follow.

    `remarks` are further words for the label of a picture, such as that it shows a failure.
    """

    title: str
    caption: str
    references: dict[str, Image.Image]
    pictures: dict[str, Image.Image]
    remarks: dict[str, str] = field(default_factory=dict)


def contact_sheet(rows: list[Row], columns: int) -> Image.Image:
    """The rows below each other, with this many pictures side by side, references included."""
    width = 2 * MARGIN + columns * (TILE + GAP) + ARROW
    captions = [textwrap.wrap(row.caption, width // 8) for row in rows]
    heights = [head_height(lines) + picture_lines(row, columns) * (LABEL + TILE + GAP) + GAP
               for row, lines in zip(rows, captions, strict=True)]  # fmt: skip
    sheet = Image.new("RGB", (width, sum(heights) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN // 2
    for row, lines, height in zip(rows, captions, heights, strict=True):
        draw.text((MARGIN, top + 4), row.title, fill=INK, font=ImageFont.load_default(22))
        draw.multiline_text((MARGIN, top + 34), "\n".join(lines), fill=GREY, font=ImageFont.load_default(15))
        draw_row(sheet, draw, row, top + head_height(lines), columns)
        top += height
    return sheet


def head_height(lines: list[str]) -> int:
    return HEAD + LINE * (len(lines) - 1)


def picture_lines(row: Row, columns: int) -> int:
    """How many lines of pictures a row has, beside its references."""
    return -(-len(row.pictures) // (columns - bool(row.references)))


def draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Row, top: int, columns: int) -> None:
    """References on the left, an arrow, and pictures in lines."""
    left = MARGIN
    if row.references:
        words = "reference" if len(row.references) == 1 else "references"
        draw.text((left, top + 2), words, fill=GREY, font=ImageFont.load_default(14))
        side = TILE // len(row.references)
        for number, reference in enumerate(row.references.values()):
            enlarged = reference.resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left + (TILE - side) // 2, top + LABEL + number * side))
        middle = top + LABEL + TILE // 2
        draw.line([left + TILE + 8, middle, left + TILE + ARROW - 4, middle], fill=GREY, width=3)
        tip = left + TILE + ARROW
        draw.polygon([(tip, middle), (tip - 12, middle - 7), (tip - 12, middle + 7)], fill=GREY)
        left += TILE + ARROW + GAP
        columns -= 1
    for number, (name, picture) in enumerate(row.pictures.items()):
        x, y = left + number % columns * (TILE + GAP), top + number // columns * (LABEL + TILE + GAP)
        label = f"{name}: {row.remarks[name]}" if name in row.remarks else name
        draw.text((x, y + 2), label, fill=INK, font=ImageFont.load_default(14))
        enlarged = (picture.width * ENLARGED, picture.height * ENLARGED)
        sheet.paste(picture.resize(enlarged, Image.Resampling.NEAREST), (x, y + LABEL))

"""Contact sheets: pictures side by side with captions, or in a table whose rows and columns have names."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from PIL import Image, ImageDraw, ImageFont

from .paint import INK, PAPER


@dataclass(frozen=True)
class Layout:
    """Lengths in pixels: cells of one size in rows and columns, and the margins for names of rows (`left`), names of
    columns (`header`), captions and a title.
    """

    columns: int
    rows: int
    cell: tuple[int, int]
    text: int  # height of letters
    left: int = 0
    header: int = 0
    caption: int = 0
    title: int = 0

    @property
    def gap(self) -> int:
        return self.text // 2

    @property
    def size(self) -> tuple[int, int]:
        right, bottom = self.corner(self.rows, self.columns)
        return right - self.gap + self.text, bottom - self.gap + self.text

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """x and y of a cell's upper left corner."""
        x = self.text + self.left + column * (self.cell[0] + self.gap)
        return x, self.text + self.title + self.header + row * (self.cell[1] + self.caption + self.gap)


def contact_sheet(
    pictures: Sequence[Image.Image], captions: Sequence[str] = (), columns: int = 0, title: str = "", cell: int = 256
) -> Image.Image:
    """Pictures in reading order, each over its caption; `columns` 0 makes the sheet nearly square.

    `cell` is the larger side of the largest picture, in pixels. ValueError without pictures, or with more captions than
    pictures.
    """
    if len(captions) > len(pictures):
        raise ValueError(f"There are {len(captions)} captions for {len(pictures)} pictures.")
    across = min(columns or ceil(sqrt(len(pictures))), len(pictures))
    size, text = _cell(pictures, cell), _letters(cell)
    rows = ceil(len(pictures) / across)
    layout = Layout(across, rows, size, text, caption=2 * text if captions else 0, title=2 * text if title else 0)
    sheet, draw = _lay_out(pictures, layout, title)
    for number, caption in enumerate(captions):
        x, y = layout.corner(*divmod(number, across))
        at = (x + size[0] // 2, y + size[1] + text)
        draw.text(at, _shorten(caption, text, size[0]), INK, ImageFont.load_default(text), "mm")
    return sheet


def labelled_grid(
    pictures: Sequence[Image.Image],
    row_names: Sequence[str],
    column_names: Sequence[str],
    title: str = "",
    cell: int = 256,
) -> Image.Image:
    """Pictures in a table, row by row, with the names of its rows and columns; `cell` as in `contact_sheet`.

    ValueError unless the number of pictures is rows times columns.
    """
    rows, columns = len(row_names), len(column_names)
    if len(pictures) != rows * columns:
        raise ValueError(
            f"A grid of {rows} rows and {columns} columns needs {rows * columns} pictures, got {len(pictures)}."
        )
    size, text = _cell(pictures, cell), _letters(cell)
    font = ImageFont.load_default(text)
    left = ceil(max(font.getlength(name) for name in row_names)) + text
    layout = Layout(columns, rows, size, text, left, header=2 * text, title=2 * text if title else 0)
    sheet, draw = _lay_out(pictures, layout, title)
    for column, name in enumerate(column_names):
        x, y = layout.corner(0, column)
        draw.text((x + size[0] // 2, y - text), _shorten(name, text, size[0]), INK, font, "mm")
    for row, name in enumerate(row_names):
        x, y = layout.corner(row, 0)
        draw.text((x - text, y + size[1] // 2), name, INK, font, "rm")
    return sheet


def _lay_out(pictures: Sequence[Image.Image], layout: Layout, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", layout.size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        big = layout.text * 5 // 4
        width = layout.size[0] - 2 * layout.text
        draw.text((layout.text, layout.text * 2), _shorten(title, big, width), INK, ImageFont.load_default(big), "lm")
    for number, picture in enumerate(pictures):
        x, y = layout.corner(*divmod(number, layout.columns))
        scale = min(layout.cell[0] / picture.width, layout.cell[1] / picture.height)
        fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        # Enlarged by a whole number, each pixel becomes a square, and small pictures stay sharp.
        method = Image.Resampling.NEAREST if scale == int(scale) else Image.Resampling.LANCZOS
        resized = picture.convert("RGB").resize(fitted, method) if fitted != picture.size else picture
        sheet.paste(resized, (x + (layout.cell[0] - fitted[0]) // 2, y + (layout.cell[1] - fitted[1]) // 2))
    return sheet, draw


def _cell(pictures: Sequence[Image.Image], longest: int) -> tuple[int, int]:
    """Width and height of a cell in which every picture fits: the largest width by the largest height, scaled."""
    if not pictures:
        raise ValueError("There are no pictures to put on a contact sheet.")
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    scale = longest / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _letters(cell: int) -> int:
    """Height of letters in pixels: 22 on a cell of 384; by the root, so that text on small cells stays legible."""
    return max(12, round(1.1 * sqrt(cell)))


def _shorten(text: str, size: int, width: int) -> str:
    """The text, or as much of its beginning as fits the width in pixels, with dots behind it."""
    font = ImageFont.load_default(size)
    if len(text) <= width and font.getlength(text) <= width:  # a letter is at least a pixel wide
        return text
    text = text[:width]
    fitting = bisect_right(range(len(text)), width, key=lambda length: font.getlength(text[: length + 1] + "..."))
    return text[:fitting] + "..."

"""The colours and the text that charts share."""

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

INK, FAINT, PAPER = (236, 236, 240), (154, 156, 168), (27, 28, 34)
UNIT = 2  # pixels per layout unit: drawn for screens where a node is half as wide as the picture


def write_text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: Colour, anchor: str
) -> None:
    """Write one line of text; position and size in layout units, `anchor` as Pillow's."""
    draw.text((at[0] * UNIT, at[1] * UNIT), text, colour, ImageFont.load_default(size * UNIT), anchor)

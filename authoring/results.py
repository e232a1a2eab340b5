"""What came out of a lesson that was run, side by side in one small picture: docs/lessons/*.jpg."""

import io
import urllib.request
from pathlib import Path

from PIL import Image

from harness.browser import ComfyPage
from harness.host import ROOT

FOLDER = ROOT / "docs" / "lessons"
HEIGHT, GAP = 192, 8  # pixels
SHOWN = """
() => {
  const shows = kind => window.app.graph.nodes.filter(n => n.type === kind && n.imgs?.length)
  const last = [...shows('IPAdapterContactSheet'), ...shows('SaveImage')][0]
  return last.imgs.map(picture => picture.src)
}
"""


def save_result(page: ComfyPage, name: str) -> Path:
    """The pictures that the open graph shows at its end, in a row; a sheet of many rows keeps its shape."""
    pictures = [open_picture(address) for address in page.page.evaluate(SHOWN)]
    if len(pictures) == 1:
        row = pictures[0]
    else:
        tiles = [picture.resize((round(HEIGHT * picture.width / picture.height), HEIGHT)) for picture in pictures]
        row = Image.new("RGB", (sum(tile.width + GAP for tile in tiles) - GAP, HEIGHT), "white")
        left = 0
        for tile in tiles:
            row.paste(tile, (left, 0))
            left += tile.width + GAP
    row.save(FOLDER / f"{name}.jpg", quality=85)
    return FOLDER / f"{name}.jpg"


def open_picture(address: str) -> Image.Image:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return Image.open(io.BytesIO(answer.read())).convert("RGB")

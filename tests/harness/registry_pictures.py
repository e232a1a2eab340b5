"""python -m harness.registry_pictures: the icon and the banner of the registry's page, in docs/registry/.

The demo's models draw them in a running ComfyUI: a reference, and what follows it.
"""

from PIL import Image

from .demo import STYLES, WORDS, DemoServer, follow, open_reference
from .demo_graph import draw
from .host import ROOT

FOLDER = ROOT / "docs" / "registry"
ICON, BANNER = (400, 400), (1260, 540)  # the registry's largest icon, and its 21:9
EDGE = 10  # pixels of paper around every picture
PAPER = "#f4f1ea"
DRAWN = tuple((word, style) for style in STYLES for word in WORDS)


def tile(picture: Image.Image, size: int) -> Image.Image:
    """A picture in a square of paper."""
    made = Image.new("RGB", (size, size), PAPER)
    made.paste(picture.resize((size - 2 * EDGE, size - 2 * EDGE), Image.Resampling.LANCZOS), (EDGE, EDGE))
    return made


def icon(reference: Image.Image, pictures: list[Image.Image]) -> Image.Image:
    """Four squares: the reference first, then three pictures that follow it."""
    made, side = Image.new("RGB", ICON, PAPER), ICON[0] // 2
    for number, picture in enumerate((reference, *pictures[:3])):
        made.paste(tile(picture, side), (side * (number % 2), side * (number // 2)))
    return made


def banner(rows: dict[str, list[Image.Image]]) -> Image.Image:
    """A row for each reference: itself, and six pictures that follow it."""
    made, side = Image.new("RGB", BANNER, PAPER), BANNER[1] // len(rows)
    for row, (style, pictures) in enumerate(rows.items()):
        for column, picture in enumerate((open_reference(style), *pictures)):
            made.paste(tile(picture, side), (column * side, row * side))
    return made


def main() -> None:
    rows: dict[str, list[Image.Image]] = {style: [] for style in STYLES}
    with DemoServer() as server:
        for word, style in DRAWN:
            graph, saved = draw(follow(word, style))
            (picture,) = server.run(graph).images(saved.id)
            rows[style].append(picture.convert("RGB"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = {"icon.png": icon(open_reference(STYLES[0]), rows[STYLES[0]]), "banner.png": banner(rows)}
    for name, picture in made.items():
        picture.quantize(256).save(FOLDER / name, optimize=True)


if __name__ == "__main__":
    main()

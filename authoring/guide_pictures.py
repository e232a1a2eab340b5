"""python atelier.py draw: draw the pictures of the guides in docs/ again, with the models that come with the pack.

Each is a table of drawings that a ComfyUI server makes with this pack's nodes; nothing is retouched.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from demo_models.config import SIZE
from harness.demo import FIRST, STYLES, follow, halves, open_reference
from harness.demo_graph import Drawing, Follow, draw, sample
from harness.graph import Graph, Node
from harness.host import ROOT
from harness.server import Server

from .gallery import draw_real

FOLDER = ROOT / "docs" / "pictures"
TILE, LABEL, GAP = 2 * SIZE, 20, 6  # pixels; each pixel of a drawing becomes a sharp square of 2 x 2
ACROSS = 4  # pictures side by side: as wide as a page of text, so that browsers do not make them smaller
LAYERS = 16  # of the demo's UNet, which has SD1.5's layout
WORD = "boat"
SCALINGS = ("V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty")

Cell = Drawing | str | Callable[[], tuple[Graph, Node]]  # what to draw, or a reference's name
Table = tuple[Mapping[str, Cell], ...]  # rows of labelled pictures


def image_to_image(denoise: float, words: str = WORD, picture: str = FIRST) -> Callable[[], tuple[Graph, Node]]:
    """The graph of a picture that begins as the reference's latents, without any adapter."""

    def build() -> tuple[Graph, Node]:
        g = Graph()
        models = g.add("IPAdapterDemoLoader", adapter="plus")
        reference = g.add("IPAdapterDemoReference", picture=picture)
        size = {"width": SIZE, "height": SIZE, "crop": "center", "upscale_method": "lanczos"}
        square = g.add("ImageScale", image=reference[0], **size)
        begun = g.add("VAEEncode", pixels=square[0], vae=models[3])
        drawn = sample(g, models, models[0], words, 5, latent_image=begun[0], denoise=denoise)
        return g, g.add("SaveImage", images=drawn[0], filename_prefix="guide")

    return build


def weights(*values: float, **more: Any) -> dict[str, Cell]:
    return {f"weight {value:g}": follow(WORD, weight=value, **more) for value in values}


def noisy(noise: float) -> Drawing:
    return Drawing("star", (Follow("orange on bricks", noise=noise, more={"weight": 0.5}),))


def one_layer(layer: int) -> Drawing:
    """The reference acts in one layer alone, at twice the weight 1."""
    return Drawing(WORD, (Follow(FIRST, layers=f"{layer}:2", more={"weight": 1.0}),))


TABLES: dict[str, Table] = {
    "what": tuple(
        {"reference": style, **{word: follow(word, style) for word in ("house", "boat", "moon")}}
        for style in STYLES
    ),
    "compared": (
        {"reference": FIRST, **{f"denoise {value:g}": image_to_image(value) for value in (0.4, 0.8, 1.0)}},
        {"reference": FIRST, **weights(0.3, 0.6, 1)},
    ),
    "weight": ({"reference": FIRST, **weights(0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)},),
    "adapters": tuple(
        {"reference": FIRST}
        | {
            f"{adapter} {weight:g}": Drawing(WORD, (Follow(FIRST, more={"weight": weight}),), adapter=adapter)
            for weight in (0.2, 0.6, 1.0)
        }
        for adapter in ("standard", "plus")
    ),
    "noise": (
        {"reference": "orange on bricks"}
        | {
            f"weight {weight:g}": Drawing("star", (Follow("orange on bricks", more={"weight": weight}),))
            for weight in (0.5, 0.3, 0.2)
        },
        {"reference": "orange on bricks", **{f"noise {noise:g}": noisy(noise) for noise in (0.0, 0.3, 1.0)}},
    ),
    "when": (
        {"reference": FIRST}
        | {
            f"{start:g} to {end:g}": follow(WORD, start_at=start, end_at=end)
            for start, end in ((0.0, 1.0), (0.0, 0.2), (0.0, 0.5), (0.2, 1.0), (0.5, 1.0), (0.8, 1.0))
        },
    ),
    "scaling": ({name: follow(WORD, weight=1.5, embeds_scaling=name) for name in SCALINGS},),
    "layers": (
        {"none": Drawing(WORD)}
        | {str(layer): one_layer(layer) for layer in range(LAYERS)}
        | {"all": follow(WORD, weight=1.0)},
    ),
    "halves": (dict(halves()),),
}  # fmt: skip


def picture_of(server: Server, cell: Cell, **sampler: object) -> Image.Image:
    """Draw a cell; `sampler` changes the sampler's settings."""
    if isinstance(cell, str):
        return open_reference(cell)
    graph, saved = draw(cell) if isinstance(cell, Drawing) else cell()
    graph.change("KSampler", **sampler)
    (picture,) = server.run(graph).images(saved.id)
    return picture.convert("RGB")


def table_picture(rows: list[dict[str, Image.Image]]) -> Image.Image:
    """Labelled pictures in rows; a row that is too long goes on in the next line."""
    cells = [list(row.items()) for row in rows]
    lines = [row[start : start + ACROSS] for row in cells for start in range(0, len(row), ACROSS)]
    width, height = max(map(len, lines)) * (TILE + GAP) + GAP, len(lines) * (TILE + LABEL + GAP) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    canvas = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        for column, (name, picture) in enumerate(line):
            x, y = GAP + column * (TILE + GAP), GAP + number * (TILE + LABEL + GAP)
            canvas.text((x, y), name, fill="#202020", font=ImageFont.load_default(14))
            sheet.paste(picture.resize((TILE, TILE), Image.Resampling.NEAREST), (x, y + LABEL))
    return sheet


def make(server: Server, names: list[str], folder: Path, **sampler: object) -> None:
    """Draw and write the tables of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(len(row) for name in names for row in TABLES[name])
    with tqdm(total=total, desc="[draw] pictures") as bar:
        for name in names:
            rows = []
            for row in TABLES[name]:
                rows.append({label: picture_of(server, cell, **sampler) for label, cell in row.items()})
                bar.update(len(row))
            table_picture(rows).save(folder / f"{name}.jpg", quality=88, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(TABLES)}; all without any")
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--models", type=Path, help="draw the gallery's lessons with the models in this folder instead")
    options = parser.parse_args()
    if options.models is not None:
        draw_real(options.models, options.names)
        return
    if unknown := set(options.names) - set(TABLES):
        parser.error(f"no picture is called {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    with Server() as server:
        make(server, options.names or list(TABLES), options.output)


if __name__ == "__main__":
    main()

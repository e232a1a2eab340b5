"""python atelier.py demo: what image prompts do, on one sheet of pictures in output/demo/.

Tiny models that come with this pack draw them in a real ComfyUI server, on the CPU. What you see is what the same
nodes do with real models: a reference steers a picture; its weight, its time, its place and its layers steer how.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from .demo_graph import Drawing, Follow, draw
from .demo_sheet import Row, contact_sheet
from .host import ROOT
from .server import Server

FOLDER = ROOT / "output" / "demo"
WORDS = ("boat", "moon", "fish", "star", "tree", "house")
FIRST_WORD = WORDS[0]
STYLES = ("yellow on rings", "red on strokes", "cream on waves")
FIRST, SECOND = STYLES[:2]
WEIGHT_TYPES = (
    "linear", "ease in", "ease out", "ease in-out", "reverse in-out", "weak input", "weak output", "weak middle",
    "strong middle", "style transfer", "composition", "strong style transfer", "style and composition",
    "style transfer precise", "composition precise",
)  # fmt: skip
WEIGHT_TYPE_CAPTION = (
    "Which layers listen, and how much. Few layers of these models decide colours: types that keep those look "
    "alike. The last one pushes the reference's style away, so dark and bright change places."
)
Rows = dict[str, tuple[str, dict[str, Drawing]]]


def follow(words: str = FIRST_WORD, picture: str = FIRST, **more: object) -> Drawing:
    return Drawing(words, (Follow(picture, more=dict(more)),))


def halves() -> dict[str, Drawing]:
    left, right = Follow(FIRST, half="left"), Follow(SECOND, half="right")
    return {
        "no reference": Drawing(FIRST_WORD),
        "left half": Drawing(FIRST_WORD, (left,)),
        "right half": Drawing(FIRST_WORD, (right,)),
        "both": Drawing(FIRST_WORD, (left, right)),
        "both: fish": Drawing("fish", (left, right)),
        "both: mountains": Drawing("mountains", (left, right)),
    }


def negatives() -> dict[str, Drawing]:
    """Something has to be weak for a negative to be seen: at full weight the colours are there already."""
    noises = {"none": 0.0, "noise 0.3": 0.3, "noise 0.6": 0.6, "noise 1": 1.0}
    return {
        name: Drawing("star", (Follow("orange on bricks", noise=noise, more={"weight": 0.5}),))
        for name, noise in noises.items()
    }


ROWS: Rows = {
    "Words only": ("No reference: the words say what, and the model picks colours as it likes.", {
        word: Drawing(word) for word in WORDS
    }),
    **{
        f"Style from a reference {number}": ("The picture on the left is the prompt for the style.", {
            word: follow(word, style) for word in WORDS
        })
        for number, style in enumerate(STYLES, 1)
    },
    "weight": ("How strongly the reference acts: 0 is as if it were not there.", {
        f"{weight:g}": follow(weight=weight) for weight in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
    }),
    "start_at, end_at": ("When it acts: colours are decided early, detail late.", {
        f"{start:g} to {end:g}": follow(start_at=start, end_at=end)
        for start, end in ((0.0, 1.0), (0.0, 0.2), (0.0, 0.5), (0.2, 1.0), (0.5, 1.0), (0.8, 1.0))
    }),
    "attn_mask": ("Where it acts: one half, the other, and a reference for each.", halves()),
    "image_negative": ("A noisy copy (IPAdapter Noise) as what to move away from, at weight 0.5.", negatives()),
    "weight_type": (WEIGHT_TYPE_CAPTION, {
        name: follow(weight_type=name) for name in WEIGHT_TYPES
    }),
}  # fmt: skip


def references(drawings: dict[str, Drawing]) -> list[str]:
    """The pictures that a row follows, each once."""
    return list(dict.fromkeys(f.picture for drawing in drawings.values() for f in drawing.follow))


def pictures(server: Server) -> Iterator[Row]:
    total = sum(len(drawings) for _, drawings in ROWS.values())
    with tqdm(total=total, desc="[demo] pictures") as bar:
        for title, (caption, drawings) in ROWS.items():
            made = {}
            for name, drawing in drawings.items():
                graph, saved = draw(drawing)
                (picture,) = server.run(graph).images(saved.id)
                made[name] = picture.convert("RGB")
                bar.update()
            followed = {name: open_reference(name) for name in references(drawings)}
            yield Row(title, caption, followed, made)


class DemoServer(Server):
    """A ComfyUI with the pack and its demo models only, which needs no more packages than ComfyUI itself."""

    def add_stand_ins(self) -> None:
        """None: the demo's models and references come with the pack."""


def open_reference(name: str) -> Image.Image:
    return Image.open(ROOT / "demo_models" / "references" / f"{name}.png").convert("RGB")


def make(server: Server, folder: Path) -> Path:
    """Write every picture and the contact sheet; the path of the sheet."""
    rows = list(pictures(server))
    for row in rows:
        place = folder / row.title
        place.mkdir(parents=True, exist_ok=True)
        for name, picture in row.pictures.items():
            picture.save(place / f"{name.replace(':', ',')}.png")
    path = folder / "contact sheet.png"
    contact_sheet(rows).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder = parser.parse_args().output
    print("[demo] Starting ComfyUI on the CPU with the pack and its demo models", flush=True)
    with DemoServer() as server:
        sheet = make(server, folder)
    print(f"[demo] Done: the pictures are in {sheet.parent}. Open {sheet.name}")


if __name__ == "__main__":
    main()

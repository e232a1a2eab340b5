"""python atelier.py demo: what image prompts do, on two sheets of pictures in output/demo/.

The first, story.png, has three rows: words, a reference, a reference in a region. The second has all rows.

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
from .process import one_line_errors
from .server import Server

FOLDER = ROOT / "output" / "demo"
LOG = FOLDER / "comfyui.log"
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
    "Which layers follow the reference, and how strongly. These models know a reference by its colours only, and few "
    "of their layers carry them: types that keep those layers look alike, and composition alone shows no reference."
)
WHEN_CAPTION = "When it acts: most of the sampling brings all of its colours, the first or the last fifth alone few."
NEGATIVE_CAPTION = "The result moves away from a noisy copy of the reference (IPAdapter Noise). The weight is 0.5."
REMARKS = {"composition precise": "fails here"}  # it pushes away the only thing that these models take over
STORY_COLUMNS, COLUMNS = 4, 6
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


STORY: Rows = {
    "Words": ("The words say what is drawn. The model picks the colours as it likes.", {
        word: Drawing(word) for word in WORDS[:4]
    }),
    "A reference": ("A picture joins the words: they still say what, the picture says in which colours and manner.", {
        word: follow(word) for word in WORDS[:3]
    }),
    "A reference in a region": ("With attn_mask a reference acts in its own part, and several act at once.", {
        name: halves()[name] for name in ("left half", "both", "both: fish")
    }),
}  # fmt: skip
MORE: Rows = {
    **{
        f"Another reference {number}": ("The same words and seeds, in another style.", {
            word: follow(word, style) for word in WORDS[:5]
        })
        for number, style in enumerate(STYLES[1:], 1)
    },
    "weight": ("How strongly the reference acts: 0 is as if it were not there.", {
        f"{weight:g}": follow(weight=weight) for weight in (0.0, 0.25, 0.5, 0.75, 1.0)
    }),
    "start_at, end_at": (WHEN_CAPTION, {
        f"{start:g} to {end:g}": follow(start_at=start, end_at=end)
        for start, end in ((0.0, 1.0), (0.0, 0.2), (0.2, 1.0), (0.5, 1.0), (0.8, 1.0))
    }),
    "image_negative": (NEGATIVE_CAPTION, negatives()),
    "weight_type": (WEIGHT_TYPE_CAPTION, {
        name: follow(weight_type=name) for name in WEIGHT_TYPES
    }),
}  # fmt: skip
ROWS: Rows = STORY | MORE


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
            yield Row(title, caption, followed, made, REMARKS)


class DemoServer(Server):
    """A ComfyUI with the pack and its demo models only, which needs no more packages than ComfyUI itself."""

    def add_stand_ins(self) -> None:
        """None: the demo's models and references come with the pack."""


class LoggedServer(DemoServer):
    """The server of a person who runs the demo."""

    @property
    def log_file(self) -> Path:
        """Outside of the server's folder, so that it can be read after a failure."""
        return LOG


def open_reference(name: str) -> Image.Image:
    return Image.open(ROOT / "demo_models" / "references" / f"{name}.png").convert("RGB")


def make(server: Server, folder: Path) -> Path:
    """Write every picture, the story of three rows, and the sheet of all rows; the path of that sheet."""
    rows = list(pictures(server))
    for row in rows:
        place = folder / row.title
        place.mkdir(parents=True, exist_ok=True)
        for name, picture in row.pictures.items():
            picture.save(place / f"{name.replace(':', ',')}.png")
    contact_sheet(rows[: len(STORY)], STORY_COLUMNS).save(folder / "story.png")
    path = folder / "contact sheet.png"
    contact_sheet(rows, COLUMNS).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder = parser.parse_args().output
    LOG.parent.mkdir(parents=True, exist_ok=True)
    print("[demo] Starting ComfyUI on the CPU with the pack and its demo models", flush=True)
    try:
        with one_line_errors("demo", server := LoggedServer()), server:
            sheet = make(server, folder)
    except KeyboardInterrupt:
        raise SystemExit("\n[demo] Stopped") from None
    print(f"[demo] Done: the pictures are in {sheet.parent}. Open story.png, then {sheet.name}")


if __name__ == "__main__":
    main()

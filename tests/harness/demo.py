"""python atelier.py demo: a photo through a real ComfyUI server and Apply IPAdapter, to pictures in output/demo/.

The models are tiny and untrained, so the pictures are no art. What they show is real: where an image prompt acts, how
strongly, and that everything from the photo to the picture runs.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from .graph import Graph, Node
from .host import ROOT
from .server import Server

FOLDER = ROOT / "output" / "demo"
SIZE = 384
SHEET_SIZE = 256
# Title, and what Apply IPAdapter is given; None leaves it out.
TAKES: dict[str, dict[str, Any] | None] = {
    "no image prompt": None,
    "weight 1": {"weight": 1.0},
    "weight 0.5": {"weight": 0.5},
    "left half (attn_mask)": {"weight": 1.0, "mask": True},
    "style transfer": {"weight": 1.0, "weight_type": "style transfer"},
    "the last steps only": {"weight": 1.0, "start_at": 0.95},
}


def left_half(g: Graph) -> Node:
    black = g.add("SolidMask", value=0.0, width=SIZE, height=SIZE)
    white = g.add("SolidMask", value=1.0, width=SIZE // 2, height=SIZE)
    return g.add("MaskComposite", destination=black[0], source=white[0], x=0, y=0, operation="add")


def apply(g: Graph, model: list[Any], reference: Node, options: dict[str, Any]) -> Node:
    inputs = {"noise": 0.0, "weight_type": "original", "start_at": 0.0, "end_at": 1.0, "unfold_batch": False}
    inputs |= {key: value for key, value in options.items() if key != "mask"}
    if options.get("mask"):
        inputs["attn_mask"] = left_half(g)[0]
    adapter = g.add("IPAdapterModelLoader", ipadapter_file="ip-adapter-plus_sd15.safetensors")
    vision = g.add("TestClipVision", seed=3)
    return g.add(
        "IPAdapterApply", ipadapter=adapter[0], clip_vision=vision[0], image=reference[0], model=model, **inputs
    )


def take(options: dict[str, Any] | None) -> tuple[Graph, Node]:
    """The graph of one picture: the photo as the picture's rough start, and again as the image prompt."""
    g = Graph()
    checkpoint = g.add("TestCheckpoint", ckpt_name="tiny-sd15")
    photo = g.add("LoadImage", image="astronaut.png")
    canvas = g.add("ImageScale", image=photo[0], upscale_method="bicubic", width=SIZE, height=SIZE, crop="center")
    model = checkpoint[0] if options is None else apply(g, checkpoint[0], photo, options)[0]
    start = g.add("VAEEncode", pixels=canvas[0], vae=checkpoint[2])
    texts = [g.add("CLIPTextEncode", clip=checkpoint[1], text=text) for text in ("a portrait", "blurry")]
    sampler = g.add(
        "KSampler", model=model, positive=texts[0][0], negative=texts[1][0], latent_image=start[0], seed=7, steps=6,
        cfg=1.0, sampler_name="euler", scheduler="normal", denoise=0.25,
    )  # fmt: skip
    decoded = g.add("VAEDecode", samples=sampler[0], vae=checkpoint[2])
    return g, g.add("SaveImage", images=decoded[0], filename_prefix="demo")


def pictures(server: Server) -> Iterator[tuple[str, Image.Image]]:
    for number, (title, options) in enumerate(TAKES.items(), 1):
        graph, saved = take(options)
        (picture,) = server.run(graph).images(saved.id)
        print(f"[demo] {number} of {len(TAKES)}: {title}", flush=True)
        yield title, picture.convert("RGB")


def changes(pictures: list[Image.Image], plain: Image.Image) -> Iterator[Image.Image]:
    """How far each neighbourhood moved from the picture without image prompt, all on one scale: black is not at all."""
    moved = [ImageChops.difference(p, plain).convert("L").filter(ImageFilter.BoxBlur(12)) for p in pictures]
    most = max(int(m.getextrema()[1]) for m in moved) or 1  # type: ignore[arg-type]
    for m in moved:
        yield ImageOps.colorize(m.point([min(255, 255 * v // most) for v in range(256)]), "black", "white", "orangered")


def contact_sheet(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    label, gap = 26, 8
    width = max(map(len, rows)) * (SHEET_SIZE + gap) + gap
    sheet = Image.new("RGB", (width, len(rows) * (SHEET_SIZE + label + gap) + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, cells in enumerate(rows):
        for column, (title, picture) in enumerate(cells):
            x, y = gap + column * (SHEET_SIZE + gap), gap + row * (SHEET_SIZE + label + gap)
            draw.text((x + 2, y + 3), title, fill="black", font=font)
            sheet.paste(picture.resize((SHEET_SIZE, SHEET_SIZE)), (x, y + label))
    return sheet


def make(server: Server, folder: Path) -> Path:
    """Write every picture and the contact sheet; the path of the sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    made = list(pictures(server))
    plain = made[0][1]
    for number, (title, picture) in enumerate(made):
        picture.save(folder / f"{number} {title}.png")
    photo = Image.open(server.base / "input" / "astronaut.png").convert("RGB")
    differences = [("where it acted", picture) for picture in changes([p for _, p in made[1:]], plain)]
    sheet = contact_sheet([made, [("the photo", photo), *differences]])
    path = folder / "contact sheet.png"
    sheet.save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder = parser.parse_args().output
    print("[demo] Starting ComfyUI on the CPU with the pack and tiny untrained stand-ins for the models", flush=True)
    with Server() as server:
        sheet = make(server, folder)
    print(f"[demo] Done: {len(TAKES)} pictures and a contact sheet are in {sheet.parent}: open {sheet.name}")


if __name__ == "__main__":
    main()

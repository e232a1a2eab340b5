"""Write docs/gallery.md from what the lessons draw: PYTHONPATH=tests python -m authoring.gallery

`python atelier.py draw --models PATH` first runs the lessons for real models whose files are all below PATH, the models
folder of a ComfyUI, and puts their pictures beside those of the demo's models.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from harness.assets import write_photos
from harness.client import Client, PromptError, Result
from harness.host import ROOT
from harness.lesson_pictures import write_inputs
from harness.process import ComfyUI
from harness.prompts import api_prompt

from .lesson_list import CHAPTERS, first_sentence, title
from .lessons import RECIPES
from .results import FOLDER as BY_DEMO, side_by_side

PAGE, BY_REAL = ROOT / "docs" / "gallery.md", ROOT / "docs" / "gallery"
GRAPHS = ROOT / "workflows"
MODEL_FOLDERS = (
    "checkpoints", "clip_vision", "controlnet", "diffusion_models", "insightface", "ipadapter", "loras", "open_clip",
    "text_encoders", "vae", "pulid", "facexlib",
)  # fmt: skip
SHOWS = ("IPAdapterContactSheet", "SaveImage")  # the nodes at the end of a lesson, the sheet before its pictures
LONGEST = 3600  # seconds of a lesson


def names_of(recipe: dict[str, Any]) -> list[str]:
    """The model files that a lesson loads."""
    return [model["name"] for part in recipe["nodes"].values() for model in part.get("models", ())]


def lessons_with(models: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The lessons for real models whose files are all in a folder, and of the others the files that are missing."""
    there = {file.name for file in models.rglob("*") if file.is_file()}
    real = {name: names_of(recipe) for name, recipe in RECIPES.items() if not recipe["run"]}
    missing = {name: [file for file in files if file not in there] for name, files in real.items()}
    return [name for name in real if not missing[name]], {name: files for name, files in missing.items() if files}


def picture_of(result: Result, prompt: dict[str, Any]) -> Image.Image:
    """What a lesson shows at its end: its sheet, else all pictures that it saves in a row."""
    for kind in SHOWS:
        shown = [id for id, node in prompt.items() if node["class_type"] == kind and id in result.outputs]
        if pictures := [picture.convert("RGB") for id in shown for picture in result.images(id)]:
            return side_by_side(pictures)
    raise ValueError(f"This lesson shows no picture: expected one of {', '.join(SHOWS)} at its end.")


def run_lesson(server: Client, name: str, folder: Path) -> Path:
    """Run a lesson's graph as its file has it, and write what it shows into a folder."""
    prompt = api_prompt(json.loads((GRAPHS / f"{name}.json").read_text("utf-8")), server.call("/object_info"))
    folder.mkdir(parents=True, exist_ok=True)
    picture_of(server.run(prompt, LONGEST), prompt).save(folder / f"{name}.jpg", quality=90, optimize=True)
    return folder / f"{name}.jpg"


def draw_real(models: Path, wanted: list[str], folder: Path = BY_REAL) -> None:
    """Draw the lessons for real models, all that are possible or those that are wanted, and the page."""
    possible, missing = lessons_with(models)
    for name in wanted or missing:
        if name not in possible:
            print(f"[draw] {name} is left out: {', '.join(missing.get(name, ['no such lesson for real models']))}")
    if not (drawn := [name for name in possible if not wanted or name in wanted]):
        print(f"[draw] No lesson has all of its files below {models}.")
        return
    with tempfile.TemporaryDirectory(prefix="atelier-gallery-") as base:
        paths = Path(base) / "models.yaml"
        lines = ["gallery:", f"  base_path: {models.resolve().as_posix()}", *(f"  {n}: {n}" for n in MODEL_FOLDERS)]
        paths.write_text("\n".join(lines) + "\n", "utf-8")
        has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
        flags = ("--database-url", "sqlite:///:memory:", *(() if has_gpu else ("--cpu",)))
        server = ComfyUI(Path(base), *flags, "--extra-model-paths-config", str(paths))
        server.make_base()
        write_photos(Path(base) / "input")
        write_inputs(Path(base) / "input")
        with server:
            for name in drawn:
                try:
                    print(f"[draw] {run_lesson(server, name, folder)}", flush=True)
                except PromptError as error:  # a face pack is missing, or memory: the other lessons go on
                    print(f"[draw] {name} was not drawn: {error}", flush=True)
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """The text of docs/gallery.md: every lesson that has a picture, the demo's beside that of real models."""
    parts = [
        "# Gallery",
        "What the lessons draw. The first picture of each is by the models that come with the pack, at three times "
        "their size. Where there is a second picture, real models drew it on somebody's machine: `python atelier.py "
        "draw --models ComfyUI/models` draws every lesson whose files are there, and writes this page again. "
        "[All lessons](lessons.md) with their explanations.",
    ]
    for names in CHAPTERS.values():
        for name in names:
            demo, real = BY_DEMO / f"{name}_no_downloads.jpg", BY_REAL / f"{name}.jpg"
            cells = [
                f"![{title(name)}, {words}]({file.relative_to(PAGE.parent).as_posix()})"
                for words, file in (("the demo's models", demo), ("real models", real)) if file.exists()
            ]  # fmt: skip
            if cells:
                parts.append(f"## {title(name)}\n\n{first_sentence(name)}\n\n" + "\n".join(cells))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

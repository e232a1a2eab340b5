"""Write docs/lessons.md and README's six pictures from the lessons: python -m authoring.lesson_list

What a lesson shows is the first sentence of its note, so nothing is said twice.
"""

import re

from harness.host import ROOT

from .lessons import RECIPES
from .lessons.blueprints import BLUEPRINTS
from .lessons.registry import TEXTS
from .results import FOLDER as RESULTS

PAGE, README = ROOT / "docs" / "lessons.md", ROOT / "README.md"
CHAPTERS: dict[str, tuple[str, ...]] = {
    "First": ("try_it", "style_reference_and_text", "with_and_without", "style_and_text_balanced"),
    "The look of a picture": (
        "style_and_composition", "style_without_the_subject", "style_without_an_adapter", "photo_to_cartoon",
        "noise_and_negative", "wide_picture_in_tiles",
    ),
    "People": (
        "same_person", "face_plus_v2_and_lora", "face_and_normal_map", "face_free_for_commercial_use",
        "left_person_only", "instantid_one_person", "instantid_two_people", "person_in_a_style", "pulid",
        "which_face_adapter",
    ),
    "Here this, there that": (
        "two_people_two_references", "two_regions_two_references", "split_canvas", "regional_prompts",
    ),
    "Beginning with a picture": ("image_to_image_with_reference", "inpainting_with_reference", "second_pass"),
    "Before a reference is used, and on which model": ("clean_reference", "anime_models", "four_steps"),
    "When, and in which layer": ("start_and_end", "weight_schedule", "layer_sweep", "attention_map", "animation"),
    "Comparing": ("weight_types_side_by_side", "which_weight", "model_comparison"),
    "Flux and SD3.5": ("flux_style_reference_and_text", "flux_two_regions_two_references", "sd35_reference"),
    "Edit models, which take references themselves": (
        "two_references_on_an_edit_model_each_in_its_place", "a_reference_that_fades_out",
    ),
    "More": ("encode_mix_save_load", "kolors"),
}  # fmt: skip
SIX = (
    "try_it", "two_people_two_references", "start_and_end", "animation", "image_to_image_with_reference",
    "weight_schedule",
)  # fmt: skip
BEGIN, END = "<!-- six pictures: begin -->", "<!-- six pictures: end -->"


def title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def first_sentence(name: str) -> str:
    """In plain letters: the first sentence of a note without its bold marks, nor those around all of it."""
    text = re.split(r"(?<=[^0-9][.?!:])\s|(?<=[.?!]\*)\s|\n\n", TEXTS[name][0])[0].replace("**", "").rstrip(":")
    text = re.sub(r"^\*(.+)\*$", r"\1", text)
    return text if text.endswith((".", "?", "!")) else f"{text}."


def files(name: str) -> list[str]:
    """The workflows of a lesson: for real models, without downloads, or both."""
    return [file for file in (name, f"{name}_no_downloads") if file in RECIPES]


def section(name: str) -> str:
    words = {name: "workflow", f"{name}_no_downloads": "no downloads"}
    links = " · ".join(f"[{words[file]}](../workflows/{file}.json)" for file in files(name))
    drawn = files(name)[-1]
    result = f"\n\n![{title(name)}: what came out](lessons/{drawn}.jpg)" if (RESULTS / f"{drawn}.jpg").exists() else ""
    graph = f"![{title(name)}: the graph](../workflows/{drawn}.jpg)"
    return f"### {title(name)}\n\n{TEXTS[name][0]}\n\n{links}{result}\n\n{graph}\n"


def page() -> str:
    """The text of docs/lessons.md."""
    blocks = "\n".join(f"- **{name}**: {blueprint.description}" for name, blueprint in BLUEPRINTS.items())
    parts = [
        "# Lessons",
        "Open them from ComfyUI's template browser (they are listed under this pack), or drop a file on the canvas. "
        "Each says on the canvas, in English and Chinese, what it shows and what to try next. Those **without "
        "downloads** run on the models that come with the pack. Nodes that are empty boxes are too small for the page "
        "to draw their letters: zoom in with the mouse wheel. The graphs, these texts and the pictures are drawn by "
        "one program: `python -m authoring.draw_workflows` in the environment of the tests.",
        "The node library has blueprints, blocks to build with, under *Subgraph Blueprints › Comfy Blueprints › "
        f"IPAdapter*:\n\n{blocks}",
    ]
    for chapter, names in CHAPTERS.items():
        parts += [f"## {chapter}", *(section(name) for name in names)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def six_pictures() -> str:
    """A table of two columns for README, each picture with a link to its workflow."""
    cells = [
        f"[![{title(name)}](docs/lessons/{name}_no_downloads.jpg)](workflows/{name}_no_downloads.json)"
        f"<br>**{title(name)}.** {first_sentence(name)}"
        for name in SIX
    ]
    rows = [f"| {left} | {right} |" for left, right in zip(cells[::2], cells[1::2], strict=True)]
    return "\n".join([BEGIN, "| | |", "|---|---|", *rows, END])


def main() -> None:
    PAGE.write_text(page(), "utf-8")
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(before + six_pictures() + rest.split(END)[1], "utf-8")


if __name__ == "__main__":
    main()

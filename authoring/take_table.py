"""Write the table of docs/reference.md from ipadapter/takes.py: PYTHONPATH=tests python -m authoring.take_table"""

from harness.host import ROOT
from ipadapter.joint_models import NAMES
from ipadapter.takes import ALL_LAYERS, ANIME_END, ANIME_WEIGHT, TAKES, WHOLE_PICTURE, Recipe

PAGE = ROOT / "docs" / "reference.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
HEAD = "| take | what comes along | presets | layers | weight at strength 1 | until |"


def row(take: str, meaning: str, recipe: Recipe) -> str:
    presets = "general" if recipe.presets is WHOLE_PICTURE else ", ".join(recipe.presets)
    layers = "all" if recipe.layers == ALL_LAYERS else f"`{recipe.layers}`"
    return f"| {take} | {meaning} | {presets} | {layers} | {recipe.weight:g} | {recipe.end_at:g} |"


def table() -> str:
    """A row for every recipe; the rows below the first of a choice are for when its files are not complete."""
    rows = []
    for name, take in TAKES.items():
        meaning = take.meaning + (" (an approximation)" if take.approximate else "")
        rows += [row(name, meaning, take.recipes[0]), *(row("", "the same", recipe) for recipe in take.recipes[1:])]
    riding = " and for ".join(f"*{name}* (layers *{t.riding}*)" for name, t in TAKES.items() if t.riding)
    notes = (
        "The first preset of a row that exists for the model and whose files are complete is used, then the next row "
        f"of the choice. *General* presets: {', '.join(WHOLE_PICTURE)}.",
        f"On anime models of SDXL the preset ANIME comes before the general ones, with weight {ANIME_WEIGHT:g} and "
        f"until {ANIME_END:g}. The demo's models have an adapter of their own in place of the general ones.",
        "Where no adapter for the choice fits the model, and its VAE is connected to `vae`, IPAdapter Reference "
        f"Attention stands for {riding}, on UNets and as an experiment on {NAMES}. The other choices are refused.",
    )
    return "\n".join([BEGIN, HEAD, "|---|---|---|---|---|---|", *rows, "", "\n\n".join(notes), END])


def page() -> str:
    """The text of docs/reference.md with the present table."""
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    return before + table() + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

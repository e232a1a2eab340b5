"""The guides' pictures are drawn by a program, and every one of them is shown by the guide it was made for."""

import re

import pytest
from PIL import Image

from authoring.guide_pictures import ACROSS, FOLDER, GAP, LABEL, TABLES, TILE, make, picture_of, table_picture
from harness.host import ROOT

GUIDES = ("image_prompts", "models", "parameters", "layers", "regions", "faces", "from_the_old_pack")


def shown(folder):
    pages = ((folder / f"{name}.md").read_text("utf-8") for name in GUIDES)
    return {name for page in pages for name in re.findall(r"pictures/(\w+)\.jpg", page)}


@pytest.mark.parametrize("folder", [ROOT / "docs", ROOT / "docs" / "zh"], ids=["English", "Chinese"])
def test_every_picture_is_there_and_shown_in_both_languages(folder):
    assert shown(folder) == set(TABLES) == {file.stem for file in FOLDER.glob("*.jpg")}


def test_every_picture_has_the_rows_of_its_table():
    """A table that was changed and not drawn again has another number of pictures, mostly."""
    blank = Image.new("RGB", (8, 8))
    sizes = {name: table_picture([dict.fromkeys(row, blank) for row in table]).size for name, table in TABLES.items()}
    kept = {}
    for file in FOLDER.glob("*.jpg"):
        with Image.open(file) as picture:
            kept[file.stem] = picture.size
    assert kept == sizes, "run: python atelier.py draw"


def test_they_are_drawn_by_the_packs_own_nodes(server, tmp_path):
    """Two steps show that every kind of drawing runs; the tests of pictures say what the models do."""
    make(server, ["compared"], tmp_path, steps=2)
    with Image.open(tmp_path / "compared.jpg") as made, Image.open(FOLDER / "compared.jpg") as kept:
        assert made.size == kept.size
    for name, line, one, other in (("layers", 0, "8", "15"), ("noise", 1, "noise 0", "noise 1")):
        row = TABLES[name][line]
        assert picture_of(server, row[one], steps=2).tobytes() != picture_of(server, row[other], steps=2).tobytes()


def test_each_pixel_of_a_drawing_is_a_sharp_square_and_long_rows_go_on_in_the_next_line():
    drawing = Image.effect_noise((TILE // 2, TILE // 2), 90).convert("RGB")
    sheet = table_picture([{str(number): drawing for number in range(ACROSS + 1)}])
    assert sheet.size == (ACROSS * (TILE + GAP) + GAP, 2 * (TILE + LABEL + GAP) + GAP)
    for x, y in ((GAP, GAP + LABEL), (GAP, TILE + 2 * (GAP + LABEL))):
        shown = sheet.crop((x, y, x + TILE, y + TILE))
        assert shown.tobytes() == drawing.resize((TILE, TILE), Image.Resampling.NEAREST).tobytes()

"""The gallery: its page, and the drawing of lessons with the models that somebody has."""

from pathlib import Path

from PIL import Image

from authoring import gallery
from authoring.lesson_list import page as page_of_lessons
from harness.host import ROOT
from harness.server import Server


def test_the_pages_that_are_made_from_lessons_are_up_to_date():
    assert gallery.PAGE.read_text("utf-8") == gallery.page(), "run: python -m authoring.gallery"
    lessons = (ROOT / "docs" / "lessons.md").read_text("utf-8")
    assert lessons == page_of_lessons(), "run: python -m authoring.lesson_list"


def test_a_lesson_is_drawn_where_all_of_its_files_are_and_the_others_say_what_they_miss(tmp_path: Path):
    names = gallery.names_of(gallery.RECIPES["with_and_without"])
    assert len(names) == 3
    for name in names:
        (tmp_path / "some folder").mkdir(exist_ok=True)
        (tmp_path / "some folder" / name).touch()
    possible, missing = gallery.lessons_with(tmp_path)
    assert "with_and_without" in possible and "style_reference_and_text" in possible
    assert missing["kolors"] and not set(possible) & missing.keys()
    assert "noobIPAMARK1_mark1.safetensors" in missing["anime_models"]


def test_a_lesson_that_runs_without_the_page_shows_what_the_page_shows(server: Server, tmp_path: Path):
    """Not bit for bit: JPEG files lose a little, and each is made of its own."""
    file = gallery.run_lesson(server, "four_steps_no_downloads", tmp_path)
    with Image.open(file) as drawn, Image.open(gallery.BY_DEMO / "four_steps_no_downloads.jpg") as shown:
        assert drawn.size == shown.size
        one, other = (picture.convert("L").resize((32, 16)).tobytes() for picture in (drawn, shown))
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) < 12  # of 255

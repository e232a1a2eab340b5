"""A lesson's nodes stand beside each other as Vue components too, which are taller than canvas nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from authoring.layout import overlaps, use_canvas_nodes, use_vue_nodes
from authoring.lessons import RECIPES
from harness.browser import ComfyPage
from workflows.pages import read

FOLDER = Path(__file__).parents[2] / "workflows"


@pytest.fixture(scope="module")
def vue(tab: ComfyPage) -> Iterator[ComfyPage]:
    tab.clear()
    tab.focus(True)  # tabs and bars have no part in this, and cost a sixth of the time
    yield use_vue_nodes(tab)
    tab.clear()
    use_canvas_nodes(tab)
    tab.focus(False)


@pytest.mark.parametrize("name", RECIPES)
def test_its_nodes_do_not_run_into_each_other(vue: ComfyPage, name: str):
    vue.load(read(FOLDER / f"{name}.json"))
    vue.page.wait_for_timeout(300)  # web/live looks five times a second for nodes to draw, which grow by their drawing
    vue.settle()
    assert overlaps(vue) == []

"""The models that some workflows ask for, and the tab in which they are opened."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from authoring.lessons.files import PACKS
from faces.assets import write_face_packs
from harness.browser import ComfyPage
from harness.fixtures import open_browser
from harness.server import Server
from workflows.tiny_runs import write_lesson_models


@pytest.fixture(scope="session", autouse=True)
def lesson_models(server: Server) -> None:
    write_face_packs(server.base / "models" / "insightface" / "models", PACKS)
    write_lesson_models(server.base / "models")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """For all files of this folder: none of them needs an event loop beside Playwright's."""
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="package")
def tab(browser: Browser, server: Server) -> Iterator[ComfyPage]:
    """One tab for all: opening one takes seconds, and every file has an id, by which a tab keeps widgets apart."""
    opened = ComfyPage(browser, server.url)
    yield opened
    opened.page.close()


@pytest.fixture
def page(tab: ComfyPage) -> ComfyPage:
    """The tab, drawing nodes on a canvas. One fixture of this name would be made anew for every parameter of others."""
    return tab

"""Pytest fixtures: `server`, and `start_server` for servers with other flags."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from .browser import HINT as NO_BROWSER, browser_path, launch
from .host import HINT, find_comfyui
from .server import Server, open_nursery

SLOW = (  # folders and files that --quick leaves out
    "demo", "performance", "headless", "faces", "openclip", "workflows", "trust/test_graphs.py",
    "model_doctor/test_server.py",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that need neither a server nor minutes")
    parser.addoption("--nightly", action="store_true", help="tests of training and of 200 pictures each as well")


def pytest_configure(config: pytest.Config) -> None:
    """One nursery for a whole run, however many processes it has."""
    config.addinivalue_line("markers", "nightly: runs with --nightly alone, as it is of what is not shipped")
    if not hasattr(config, "workerinput") and (nursery := open_nursery()):
        config.add_cleanup(nursery.close)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes minutes comes first, so that all processes end at about the same time."""
    if not config.getoption("--nightly"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("nightly")])
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    slow = [item for item in items if is_slow(item)]
    quick = [item for item in items if not is_slow(item)]
    if config.getoption("--quick"):
        config.hook.pytest_deselected(items=slow)
        slow = []
    items[:] = [*slow, *quick]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Imported modules stay to the end, so the garbage collector need not walk through them again and again."""
    gc.collect()
    gc.freeze()


def is_slow(item: pytest.Item) -> bool:
    folder = item.path.parent.name
    return folder in SLOW or f"{folder}/{item.path.name}" in SLOW or "start_server" in item.fixturenames  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., Server]]:
    """`start_server("--lowvram")` gives a server with those flags, started once and stopped at the end."""
    if find_comfyui() is None:
        if os.environ.get("ATELIER_NEEDS_SERVER"):  # set by atelier.py test: there, a missing server is a failure
            pytest.fail(HINT)
        pytest.skip(HINT)
    running: dict[tuple[str, ...], Server] = {}
    with ExitStack() as stack:

        def start(*flags: str) -> Server:
            if flags not in running:
                running[flags] = stack.enter_context(Server(*flags))
            return running[flags]

        yield start


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    """The one ComfyUI server of this test session, on the CPU, with this pack and the test nodes."""
    return start_server()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium; not for a session, because Playwright keeps an event loop running while it is open."""
    if browser_path() is None:
        if os.environ.get("ATELIER_NEEDS_SERVER"):
            pytest.fail(NO_BROWSER)
        pytest.skip(NO_BROWSER)
    with sync_playwright() as playwright:
        yield launch(playwright)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened

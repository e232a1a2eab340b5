"""ComfyUI's own page in a headless Chromium: load a workflow as a user does, and see what it says."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

HINT = "No Chromium found. Install chromium, or run: python atelier.py test"


def find_browser() -> str | None:
    return os.environ.get("ATELIER_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=find_browser(), args=list(ARGUMENTS))


class ComfyPage:
    """One tab on a running server; `errors` collects what the page complains about."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.errors: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": 1600, "height": 900})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self.on_console)
        self.page.route(lambda address: not address.startswith(url), lambda route: route.abort())
        self.page.goto(url)
        self.page.wait_for_function("window.app?.canvas?.graph && window.app.extensionManager", timeout=60_000)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a workflow as dropping its file on the page does."""
        self.errors.clear()
        self.page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)
        self.page.wait_for_timeout(500)

    def missing_nodes(self) -> list[str]:
        """Types in the open graph that the server does not know."""
        return self.page.evaluate(
            "window.app.graph.nodes.filter(n => !(n.type in LiteGraph.registered_node_types)).map(n => n.type)"
        )

    def prompt(self) -> dict[str, Any]:
        """The API prompt that pressing Run would send."""
        return self.page.evaluate("async () => (await window.app.graphToPrompt()).output")

    def screenshot(self, file: Path) -> Path:
        """A JPEG of the whole graph, without the page around it."""
        self.page.keyboard.press("Escape")
        self.page.evaluate("window.app.canvas.fitViewToSelectionAnimated?.() ; window.app.canvas.setDirty(true, true)")
        self.page.wait_for_timeout(1000)
        self.page.screenshot(path=file, type="jpeg", quality=85)
        return file


def read_workflow(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8"))

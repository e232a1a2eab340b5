"""ComfyUI's own page in a headless Chromium: load a workflow as a user does, and see what it says."""

import json
import os
import shutil
import time
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # ours only; a route would look at every request
)  # fmt: skip

# What the page opens with; its own first workflow asks the internet about models.
EMPTY = {"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "groups": [], "config": {}, "version": 0.4}
HINT = "No Chromium found. Install chromium, or run: python atelier.py test"

# The page does not understand its own server's list of jobs when one of them had no output but text.
JOBS = "[Jobs API]"
# Since 1.58 the page says that its own rules stop its own code from asking foreign hosts. Ours asks none.
STOPPED, OWN_CODE = "Content Security Policy", "/assets/"

# A dot pulses for as long as a graph runs, and has the page draw itself 60 times a second: half a processor.
STILL = "*, ::before, ::after { animation: none !important; transition: none !important }"
# Twice: what comes into the page in one turn, as the components of nodes do, may ask for more or grow in the next.
IDLE = """
async () => {
  for (let turn = 0; turn < 2; turn++) {
    await new Promise(requestAnimationFrame)
    await new Promise(done => requestIdleCallback(done, { timeout: 5000 }))  // a busy machine may leave no time idle
  }
}
"""

# Seconds until a request counts as one without an answer: a server that samples answers late.
PATIENCE = 120

# Each stays open beside the next, and a hundred of them make every one half as dear again.
OPEN = """
async workflow => {
  await window.app.loadGraphData(workflow)
  const tabs = window.app.extensionManager.workflow
  for (const one of [...tabs.openWorkflows]) if (one.path !== tabs.activeWorkflow.path) await tabs.closeWorkflow(one)
}
"""


def browser_path() -> str | None:
    return os.environ.get("ATELIER_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=browser_path(), args=list(ARGUMENTS))


class ComfyPage:
    """One tab on a running server; `errors` collects what the page complains about."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.errors: list[str] = []
        self.asked: set[Request] = set()  # requests that the server has not answered yet
        self.vue = False  # whether nodes are drawn as Vue components, and not on the canvas
        self.page: Page = browser.new_page(viewport={"width": 1600, "height": 900})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self.on_console)
        self.page.on("request", lambda request: self.asked.add(request))
        self.page.on("requestfinished", lambda request: self.asked.discard(request))
        self.page.on("requestfailed", lambda request: self.asked.discard(request))
        self.page.add_init_script(f"localStorage.setItem('workflow', {json.dumps(json.dumps(EMPTY))})")
        self.page.goto(url)
        self.page.wait_for_function(
            "!!(window.app?.canvas?.graph && window.app.vueAppReady && LiteGraph.registered_node_types.KSampler)",
            timeout=60_000,
        )
        self.page.add_style_tag(content=STILL)

    def on_console(self, message: ConsoleMessage) -> None:
        place = message.location.get("url", "")
        its_own = JOBS in message.text or (STOPPED in message.text and OWN_CODE in place)
        if message.type == "error" and not its_own:
            self.errors.append(f"{message.text} ({place})")

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a workflow as dropping its file on the page does, and close the workflow that was open."""
        self.errors.clear()
        self.page.evaluate(OPEN, workflow)
        self.settle()

    def settle(self) -> None:
        """Wait until the page has drawn what it shows, pictures from the server included.

        Raises:
            TimeoutError: the server has not answered what the page asked of it.
        """
        began = time.monotonic()
        self.page.evaluate(IDLE)
        while self.asked:
            if time.monotonic() - began > PATIENCE:
                urls = ", ".join(sorted(request.url for request in self.asked))
                raise TimeoutError(f"No answer in {PATIENCE} s: {urls}")
            self.page.wait_for_timeout(20)
            self.page.evaluate(IDLE)

    def clear(self) -> None:
        """An empty graph seen from its origin, and no errors so far."""
        self.load(EMPTY)
        self.page.evaluate("window.app.canvas.ds.reset()")  # nodes outside of the view have no drawings
        self.errors.clear()

    def set(self, setting: str, value: Any) -> None:
        """Change a setting of the page, as its settings dialog does; it stays for the server's next pages."""
        command = "([id, value]) => window.app.extensionManager.setting.set(id, value)"
        self.page.evaluate(command, [setting, value])
        self.settle()

    def missing_nodes(self) -> list[str]:
        """Types in the open graph that the server does not know."""
        return self.page.evaluate(
            "window.app.graph.nodes.filter(n => !(n.type in LiteGraph.registered_node_types)).map(n => n.type)"
        )

    def prompt(self) -> dict[str, Any]:
        """The API prompt that pressing Run would send."""
        return self.page.evaluate("async () => (await window.app.graphToPrompt()).output")

    def run(self) -> None:
        """Press Run, and wait for the pictures of the graph's SaveImage or contact sheet."""
        self.page.evaluate("window.app.queuePrompt(0, 1)")
        shown = "window.app.graph.nodes.some(n => /^(SaveImage|IPAdapterContactSheet)$/.test(n.type) && n.imgs?.length)"
        self.page.wait_for_function(shown, timeout=600_000)
        self.page.wait_for_timeout(1000)

    def command(self, name: str) -> None:
        self.page.evaluate("name => window.app.extensionManager.command.execute(name)", name)

"""Convert workflows that the page saved to graphs in API format, with ComfyUI's own page in a headless browser."""

import json
import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from .errors import BatchError
from .graph import Prompt

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
EMPTY = {"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "groups": [], "config": {}, "version": 0.4}
READY = "!!(window.app?.canvas?.graph && window.app.vueAppReady && LiteGraph.registered_node_types.KSampler)"
CONVERT = """
async (workflow) => {
  await window.app.loadGraphData(workflow)
  const unknown = window.app.graph.nodes.filter(n => !(n.type in LiteGraph.registered_node_types)).map(n => n.type)
  return {unknown, prompt: (await window.app.graphToPrompt()).output}
}
"""


def to_prompt(workflow: Mapping[str, Any], url: str) -> Prompt:
    """The graph that the Run button of the page at `url` would send for this workflow.

    Raises:
        BatchError: there is no browser or no Playwright, or the server lacks nodes of the workflow.
    """
    path = os.environ.get("ATELIER_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path or not find_spec("playwright"):
        raise BatchError(
            "The graph is in page format, which Chromium and Playwright convert. Install both, or save the "
            "graph with Export (API) in ComfyUI's menu."
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.route(lambda address: not address.startswith(url), lambda route: route.abort())
        page.add_init_script(f"localStorage.setItem('workflow', {json.dumps(json.dumps(EMPTY))})")
        page.goto(url)
        page.wait_for_function(READY, timeout=60_000)
        converted = page.evaluate(CONVERT, dict(workflow))
        browser.close()
    if converted["unknown"]:
        raise BatchError(f"The server has no node {', '.join(sorted(set(converted['unknown'])))}. Install its pack.")
    return converted["prompt"]

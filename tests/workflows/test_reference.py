"""IPAdapter Reference in the page: where files are missing, one press adds the node that fetches them."""

from collections.abc import Callable

from playwright.sync_api import Browser

from harness.browser import ComfyPage
from harness.server import Server

MADE = """
() => {
  const add = (type, values) => {
    const node = LiteGraph.createNode(type)
    window.app.graph.add(node)
    for (const [name, value] of Object.entries(values)) node.widgets.find(one => one.name === name).value = value
    return node
  }
  const model = add("TestModel", { family: "sdxl shallow", seed: 1 }), picture = add("TestImage", { seed: 1 })
  const reference = add("IPAdapterReference", { take: "face or person" })
  model.connect(0, reference, "model")
  picture.connect(0, reference, "image")
  reference.connect(1, add("IPAdapterSchedulePreview", {}), "schedule")
  return reference.id
}
"""
BUTTON = "id => window.app.graph.getNodeById(id).widgets.find(one => one.name === 'get the missing files')"
SAVED = "id => window.app.graph.getNodeById(id).serialize().widgets_values"
ADDED = """
() => window.app.graph.nodes.filter(node => node.type === 'IPAdapterModelDownload').map(
  node => Object.fromEntries(node.widgets.map(widget => [widget.name, widget.value])))
"""


def test_a_press_adds_a_model_download_with_the_settings_that_the_message_names(
    browser: Browser, start_server: Callable[..., Server]
):
    tab = ComfyPage(browser, start_server("--dont-print-server").url)  # whose model folders no other test fills
    try:
        id = tab.page.evaluate(MADE)
        saved = tab.page.evaluate(SAVED, id)
        tab.page.evaluate("window.app.queuePrompt(0, 1)")
        tab.page.wait_for_function(f"id => !!({BUTTON})(id)", arg=id, timeout=60_000)
        assert tab.page.evaluate(SAVED, id) == saved
        tab.page.evaluate(f"id => {{ ({BUTTON})(id).callback() }}", id)
        (added,) = tab.page.evaluate(ADDED)
        assert (added["preset"], added["family"], added["download"]) == ("FACEID PLUS V2", "SDXL", True)
        assert not tab.page.evaluate(f"id => !!({BUTTON})(id)", id)
    finally:
        tab.page.close()

"""IPAdapter Reference in the page: its report and lesson can be read; a button adds what fetches missing files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from harness.browser import ComfyPage
from harness.server import Server
from workflows.pages import read

FOLDER = Path(__file__).parents[2] / "workflows"
LETTERS, LEAST = 14, 8  # pixels of the page's letters at scale 1, and below which its default settings draw none
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
FOLDED = """
id => {
  const graph = window.app.graph, node = graph.getNodeById(id)
  window.folded = graph.convertToSubgraph(new Set([node])).node
  window.folded.title = 'Folded'
}
"""
PRESS = """
node => {
  const button = node.widgets.find(one => one.name === 'get the missing files')
  const saved = [node.serialize().widgets_values.length, node.size[0] >= window.before[0]]
  button.callback()
  return [button.label, ...saved]
}
"""
WAITING = "node => !!node.widgets.find(one => one.name === 'get the missing files')"
ADDED = """
graph => graph.nodes.filter(node => node.type === 'IPAdapterModelDownload').map(
  node => Object.fromEntries(node.widgets.map(widget => [widget.name, widget.value])))
"""
ROOT, SUBGRAPH = "window.app.graph", "window.folded.subgraph"
ALONE, INSIDE = (f"{graph}.nodes.find(node => node.type === 'IPAdapterReference')" for graph in (ROOT, SUBGRAPH))
WITH_DEMO = """
() => {
  const nodes = ["DemoLoader", "DemoReference", "Reference", "SchedulePreview"].map(
    name => LiteGraph.createNode(`IPAdapter${name}`))
  const [models, picture, reference, preview] = nodes
  nodes.forEach((node, at) => { window.app.graph.add(node); node.pos = [240 * at + 80, 120] })
  models.connect(0, reference, "model")
  picture.connect(0, reference, "image")
  reference.connect(1, preview, "schedule")
}
"""
WITH_TEXT = """
() => {
  const [text, preview] = ["ScheduleFromText", "SchedulePreview"].map(name => LiteGraph.createNode(`IPAdapter${name}`))
  for (const node of [text, preview]) window.app.graph.add(node)
  text.pos = [80, 120]
  preview.pos = [480, 120]
  text.connect(0, preview, "schedule")
}
"""
RUN_TEXT = """
async text => {
  window.app.graph.nodes[0].widgets[0].value = text
  const once = (name, call) => window.app.api.addEventListener(name, ({ detail }) => call(detail), { once: true })
  const ended = new Promise(done => once("execution_start", () => {  // an earlier run may not have ended
    once("execution_success", () => done([]))
    once("execution_error", ({ exception_message }) => done([exception_message]))
  }))
  await window.app.queuePrompt(0, 1)
  return ended
}
"""  # the message of the error, if the run ends with one
SAY = """
text => window.app.api.dispatchCustomEvent("progress_text", { nodeId: `${window.app.graph.nodes[0].id}`, text })
"""  # as a node that goes on says it
FEW = "() => { const node = window.app.graph.nodes[0]; node.setSize(node.computeSize()) }"
HEIGHT = "() => window.app.graph.nodes[0].size[1]"
SHOWN = """
() => {
  const texts = [...document.querySelectorAll('.dom-widget span')]
  const outer = texts.find(one => one.textContent.startsWith('A long text'))?.closest('.dom-widget')
  return outer && [outer, outer.firstElementChild].map(one => one.getBoundingClientRect().height)
}
"""  # the heights that the node gives to a report, and that the page uses
LISTEN = """
() => {
  window.heard = []
  window.app.api.addEventListener("progress_text", ({ detail }) => window.heard.push(detail.text))
}
"""
SCHEDULE = '{"version": 1, "schedule": {}}'
GROWS = """
() => {
  const node = window.grows = LiteGraph.createNode('IPAdapterSchedulePreview')
  let paints = 0
  node.onDrawBackground = () => { window.painted = node.size[1] }
  node.onDrawForeground = () => { if (++paints === 1) node.setSize([node.size[0], node.size[1] + 200]) }
  window.app.graph.add(node)
  node.pos = [80, 120]
  window.app.canvas.setDirty(true, true)
}
"""
REPORT = """
begin => {
  const report = [...document.querySelectorAll('.dom-widget span')].find(one => one.textContent.startsWith(begin))
  if (!report) return null
  const text = document.createRange()
  text.selectNodeContents(report)
  const [inner, outer] = [text, report.closest('.dom-widget')].map(one => one.getBoundingClientRect())
  return [report.textContent, inner.bottom <= outer.bottom, inner.height]
}
"""


@pytest.fixture(scope="module")
def tab(browser: Browser, start_server: Callable[..., Server]) -> Iterator[ComfyPage]:
    opened = ComfyPage(browser, start_server("--dont-print-server").url)  # whose model folders no other test fills
    yield opened
    opened.page.close()


def press(tab: ComfyPage, node: str) -> list[object]:
    """Run the open graph, wait for the button of a node, and press it; its words, what the node saves, its width."""
    tab.page.evaluate(f"window.before = [...{node}.size]")
    tab.page.evaluate("window.app.queuePrompt(0, 1)")
    tab.page.wait_for_function(f"() => ({WAITING})({node})", timeout=60_000)
    return tab.page.evaluate(f"() => ({PRESS})({node})")


def test_a_press_adds_a_model_download_with_the_settings_that_the_message_names(tab: ComfyPage):
    tab.clear()
    tab.page.evaluate(MADE)
    saved = tab.page.evaluate(f"{ALONE}.serialize().widgets_values.length")
    assert press(tab, ALONE) == ["Get the missing files", saved, True]
    (added,) = tab.page.evaluate(f"() => ({ADDED})(window.app.graph)")
    assert (added["preset"], added["family"], added["download"]) == ("FACEID PLUS V2", "SDXL", True)
    tab.page.get_by_text("Press Run: IPAdapter Model Download").wait_for(timeout=10_000)
    assert not tab.page.evaluate(f"() => ({WAITING})({ALONE})")
    (text, fits, _) = tab.page.evaluate(REPORT, "No adapter for 'face or person' on SDXL models is complete")
    assert "ip-adapter-faceid-plusv2_sdxl.bin from huggingface.co/h94/IP-Adapter-FaceID" in text and fits


def test_a_node_in_a_subgraph_has_the_button_inside_and_a_message_says_which_subgraph(tab: ComfyPage):
    tab.clear()
    tab.page.evaluate(FOLDED, tab.page.evaluate(MADE))
    press(tab, INSIDE)
    assert [len(tab.page.evaluate(f"() => ({ADDED})({graph})")) for graph in (ROOT, SUBGRAPH)] == [0, 1]
    assert not tab.page.evaluate(f"() => ({WAITING})({INSIDE})")
    tab.page.get_by_text("Files are missing for a node in the subgraph Folded.").wait_for(timeout=10_000)


def test_a_node_grows_until_the_whole_report_can_be_read(tab: ComfyPage):
    tab.clear()
    tab.page.evaluate(WITH_DEMO)
    tab.page.evaluate("window.app.queuePrompt(0, 1)")
    fits = f"begin => (({REPORT})(begin) ?? [])[1]"
    tab.page.wait_for_function(fits, arg="everything: subject", timeout=60_000)
    text, _, height = tab.page.evaluate(REPORT, "everything: subject")
    assert "ip-adapter-plus_demo.safetensors, vision.safetensors" in text
    assert height > 58  # which the page gives such a text


def test_an_error_stands_on_its_node_until_the_next_run(tab: ComfyPage):
    tab.clear()
    tab.page.evaluate(WITH_TEXT)
    tab.page.evaluate(FEW)
    before = tab.page.evaluate(HEIGHT)
    (error,) = tab.page.evaluate(f"({RUN_TEXT})('no schedule')")
    tab.page.wait_for_function(f"begin => (({REPORT})(begin) ?? [])[1]", arg=error[:40], timeout=60_000)
    assert tab.page.evaluate(REPORT, error[:40])[0] == error.strip()
    assert tab.page.evaluate(HEIGHT) > before
    assert tab.page.evaluate(f"({RUN_TEXT})('{SCHEDULE}')") == []
    assert tab.page.evaluate(REPORT, error[:40]) is None
    assert tab.page.evaluate(HEIGHT) == before


def test_an_error_is_said_in_the_page_that_queued_the_run_and_in_no_other(tab: ComfyPage, browser, start_server):
    other = ComfyPage(browser, start_server("--dont-print-server").url)
    other.page.evaluate(LISTEN)
    for page, text, errors in ((tab, "no schedule", 1), (other, f"{SCHEDULE}  ", 0)):  # messages keep their order
        page.clear()
        page.page.evaluate(WITH_TEXT)
        assert len(page.page.evaluate(f"({RUN_TEXT})('{text}')")) == errors
    assert other.page.evaluate("window.heard") == []
    other.page.close()


def test_a_node_is_as_high_as_what_the_page_shows_of_a_long_text(tab: ComfyPage):
    tab.clear()
    tab.page.evaluate(WITH_TEXT)
    tab.page.evaluate(SAY, "A long text. " * 100)
    tab.page.wait_for_function(SHOWN, timeout=60_000)
    tab.settle()
    widget, text = tab.page.evaluate(f"({SHOWN})()")
    assert 0 <= widget - text < 16  # less than a line is left; the page scrolls what is higher than 200 pixels


def test_a_note_stands_on_its_node_until_the_node_runs_again(tab: ComfyPage):
    tab.clear()
    tab.page.evaluate(WITH_TEXT)
    tab.page.evaluate(SAY, "A note")
    tab.page.wait_for_function(f"() => ({REPORT})('A note')", timeout=60_000)
    assert tab.page.evaluate(f"({RUN_TEXT})('{SCHEDULE} ')") == []
    assert tab.page.evaluate(REPORT, "A note") is None


def test_a_node_that_grows_while_it_is_drawn_is_drawn_again(tab: ComfyPage):
    """As nodes grow when the picture of a run has come; the page itself draws them again when the mouse moves."""
    tab.clear()
    tab.page.evaluate(GROWS)
    tab.settle()
    assert tab.page.evaluate("[window.painted - window.grows.size[1], window.grows.size[1] > 250]") == [0, True]


def test_a_window_of_1280_pixels_shows_the_first_lesson_with_its_letters(tab: ComfyPage):
    tab.page.set_viewport_size({"width": 1280, "height": 800})
    tab.load(read(FOLDER / "try_it_no_downloads.json"))
    as_file = tab.page.evaluate("window.app.canvas.ds.scale")
    tab.command("Comfy.Canvas.FitView")  # as the template browser opens it
    tab.page.wait_for_function(f"window.app.canvas.ds.scale !== {as_file}")
    tab.settle()
    assert as_file * LETTERS >= LEAST
    assert tab.page.evaluate("window.app.canvas.ds.scale") * LETTERS >= LEAST

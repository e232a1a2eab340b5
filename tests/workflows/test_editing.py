"""What somebody does with our nodes in the page: find, place, connect, edit, undo, copy, bypass, ask for help."""

import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
from playwright.sync_api import TimeoutError

from harness.browser import ComfyPage
from harness.process import PACK
from workflows.pages import drawing_nodes

NODES = "Object.fromEntries(window.app.graph.nodes.map(node => [node.id, { type: node.type, mode: node.mode }]))"
SLOT = """
([id, slot, output]) => {
  const node = window.app.graph.getNodeById(id), { scale, offset } = window.app.canvas.ds
  const at = output ? node.getOutputPos(slot) : node.getInputPos(slot)
  const box = window.app.canvas.canvas.getBoundingClientRect()
  return [(at[0] + offset[0]) * scale + box.left, (at[1] + offset[1]) * scale + box.top]
}
"""
ARROW = """
([id, name]) => {
  const node = window.app.graph.getNodeById(id), { scale, offset } = window.app.canvas.ds
  const widget = node.widgets.find(one => one.name === name), box = window.app.canvas.canvas.getBoundingClientRect()
  const [x, y] = [node.pos[0] + 25, node.pos[1] + widget.y + 10]
  return [(x + offset[0]) * scale + box.left, (y + offset[1]) * scale + box.top]
}
"""
PICTURE = """
id => {
  const widget = window.app.graph.getNodeById(id)?.widgets?.find(one => one.name === "atelier drawing")
  const image = widget?.element.querySelector("img")
  return image && !image.hidden && image.naturalWidth ? image.src : null
}
"""
WIDTH = "id => { window.app.graph.getNodeById(id).widgets.find(one => one.name === 'width').value = 256 }"
SEARCH = re.compile("Add a node|Search Nodes")  # as front ends 1.47 and 1.39 say
STEPS = "window.app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length"
DROPPED = """
([x, y]) => {
  const { scale, offset } = window.app.canvas.ds, [node, ...more] = window.app.graph.nodes
  return [node.id, node.type, node.pos[0] - x / scale + offset[0], node.pos[1] - y / scale + offset[1], more.length]
}
"""
CARDS = "[...document.querySelectorAll('[role=dialog] img')].map(i => [i.src, i.naturalWidth])"
LIBRARY = "Workspace.ToggleSidebarTab.node-library"
LOADED = "[...document.images].filter(one => one.src.includes(%r)).map(one => one.complete && one.naturalWidth)"


@pytest.fixture(scope="module", params=["canvas", "vue"])
def page(tab: ComfyPage, request: pytest.FixtureRequest) -> Iterator[ComfyPage]:
    yield from drawing_nodes(tab, request.param)


def place(page: ComfyPage, words: str, x: int, y: int) -> int:
    """Find a node by words in the search that a double click opens, and put it there; its id."""
    before = set(page.page.evaluate("window.app.graph.nodes.map(node => node.id)"))
    search = page.page.get_by_placeholder(SEARCH)
    for _ in range(5):  # on a busy machine two clicks may come too far apart to be a double click
        page.page.mouse.dblclick(x, y)
        with suppress(TimeoutError):
            search.wait_for(timeout=1000)
            break
    search.fill(words)
    page.page.wait_for_timeout(1000)
    page.page.keyboard.press("Enter")
    page.page.wait_for_timeout(500)
    page.page.mouse.click(x, y)  # where older front ends have put it already
    page.page.wait_for_function("before => window.app.graph.nodes.length > before", arg=len(before), timeout=10_000)
    page.settle()
    (id,) = set(page.page.evaluate("window.app.graph.nodes.map(node => node.id)")) - before
    return id


def select(page: ComfyPage, id: int) -> None:
    page.page.evaluate("id => window.app.canvas.selectNode(window.app.graph.getNodeById(id))", id)
    page.page.wait_for_timeout(300)


def press(page: ComfyPage, keys: str) -> None:
    page.page.keyboard.press(keys)
    page.page.wait_for_timeout(800)


def undo_until_gone(page: ComfyPage, id: str, most: int = 3) -> None:
    """Pasting is one step, or two: nodes that grow when they are shown are a step of their own. A busy page also misses
    a key while it makes its nodes anew.
    """
    for _ in range(most):
        press(page, "Control+z")
        if id not in page.page.evaluate(NODES):
            return


def drawn(page: ComfyPage, id: int, *, besides: str | None = None) -> str:
    """The address of a node's drawing, once there is one other than `besides`."""
    page.page.wait_for_function(f"([id, before]) => {{ const now = ({PICTURE})(id); return now && now !== before }}",
                                arg=[id, besides], timeout=20_000)  # fmt: skip
    return page.page.evaluate(PICTURE, id)


def test_nodes_are_found_placed_connected_edited_undone_copied_and_bypassed(page: ComfyPage):
    page.clear()
    latent, mask = place(page, "Empty Latent Image", 150, 150), place(page, "IPAdapter Solid Mask", 600, 150)
    types = ["EmptyLatentImage", "IPAdapterSolidMask"]
    assert sorted(node["type"] for node in page.page.evaluate(NODES).values()) == types
    first = drawn(page, mask)

    start, end = page.page.evaluate(SLOT, [latent, 0, True]), page.page.evaluate(SLOT, [mask, 0, False])
    page.page.mouse.move(*start)
    page.page.mouse.down()
    page.page.mouse.move(*end, steps=8)
    page.page.mouse.up()
    page.page.wait_for_timeout(500)
    assert page.prompt()[str(mask)]["inputs"]["canvas"] == [str(latent), 0]

    page.page.evaluate(WIDTH, latent)
    second = drawn(page, mask, besides=first)

    select(page, mask)
    press(page, "Control+c")
    page.page.mouse.move(1100, 500)
    before = page.page.evaluate(STEPS)
    press(page, "Control+v")
    nodes = page.page.evaluate(NODES)
    assert sorted(node["type"] for node in nodes.values()) == [*types, "IPAdapterSolidMask"]
    (copy,) = nodes.keys() - {str(latent), str(mask)}
    assert drawn(page, int(copy)) != second
    page.page.mouse.click(400, 800)  # on nothing: the page looks for what changed when the mouse or a key is let go
    page.page.wait_for_function(f"{STEPS} > {before}", timeout=20_000)

    select(page, int(copy))
    press(page, "Control+b")
    assert page.page.evaluate(NODES)[copy]["mode"] == 4
    press(page, "Control+z")
    assert page.page.evaluate(NODES)[copy]["mode"] == 0
    undo_until_gone(page, copy)
    assert sorted(node["type"] for node in page.page.evaluate(NODES).values()) == types
    drawn(page, mask)  # undo makes every node anew
    assert page.errors == []


def test_a_node_is_dragged_out_of_the_library_to_where_it_is_dropped(page: ComfyPage):
    page.clear()
    page.command(LIBRARY)
    page.page.get_by_placeholder("Search").first.fill("Solid Mask")
    entry = page.page.get_by_role("treeitem").filter(has_text="IPAdapter Solid Mask").last
    entry.wait_for(timeout=10_000)
    entry.drag_to(page.page.locator("#graph-canvas"), target_position={"x": 900, "y": 300})
    page.page.wait_for_timeout(800)
    id, kind, right, down, more = page.page.evaluate(DROPPED, [900, 300])
    assert (kind, more) == ("IPAdapterSolidMask", 0)
    assert abs(right) < 1 and -1 < down < 31  # front end 1.39 puts the title at the pointer, and the position below it
    drawn(page, id)
    page.command(LIBRARY)
    assert page.errors == []


def test_a_click_on_a_number_draws_the_node_again(page: ComfyPage):
    page.clear()
    mask = place(page, "IPAdapter Solid Mask", 500, 150)
    before = drawn(page, mask)
    value = "id => window.app.graph.getNodeById(id).widgets.find(one => one.name === 'width_fraction').value"
    if page.page.evaluate("!!window.LiteGraph.vueNodesMode"):
        page.page.locator("[data-node-id] button[data-testid='decrement']").nth(3).click()
    else:
        page.page.mouse.click(*page.page.evaluate(ARROW, [mask, "width_fraction"]))
    page.page.wait_for_timeout(500)
    assert page.page.evaluate(value, mask) == pytest.approx(0.99)
    drawn(page, mask, besides=before)
    assert page.errors == []


def test_help_is_one_page_and_its_picture_and_no_question_is_answered_with_404(page: ComfyPage):
    page.clear()
    uncached = {"cacheDisabled": True}  # or the picture that was seen in the other way to draw is not asked for again
    cache = page.page.context.new_cdp_session(page.page)
    cache.send("Network.setCacheDisabled", uncached)
    asked: list[tuple[str, int]] = []
    page.page.on("response", lambda answer: asked.append((answer.url, answer.status)))
    mask, button = place(page, "IPAdapter Solid Mask", 500, 150), page.page.locator("[data-testid='info-button']").first
    for _ in range(5):  # the page may still be drawing the node when it is selected, and shows no buttons then
        select(page, mask)
        if button.is_visible():
            break
        page.page.evaluate("window.app.canvas.deselectAll()")
    button.click()
    page.page.get_by_role("heading", name="Common mistakes").wait_for(timeout=10_000)
    page.page.wait_for_timeout(1000)
    cache.detach()  # other files use the tab too
    ours = [(url.rsplit("/docs/", 1)[1], status) for url, status in asked if f"/{PACK}/docs/" in url]
    assert ours[0] == ("IPAdapterSolidMask/en.md", 200)
    assert len(ours) == 2 and ours[1][0].startswith("pictures/") and ours[1][1] == 200
    assert all(page.page.evaluate(LOADED % f"/{PACK}/docs/"))
    assert page.errors == []


def test_templates_show_our_workflows_with_their_pictures_and_open_with_a_click(tab: ComfyPage):
    """Once: the page shows them in the same way however it draws nodes."""
    tab.clear()
    answers: list[tuple[str, int]] = []
    tab.page.on("response", lambda answer: answers.append((answer.url, answer.status)))
    tab.command("Comfy.BrowseTemplates")
    tab.page.get_by_text(PACK, exact=True).first.click()
    tab.page.wait_for_function(f"{CARDS}.filter(([, width]) => width).length >= 8", timeout=20_000)
    tab.settle()
    ours = [(url, status) for url, status in answers if f"/workflow_templates/{PACK}/" in url]
    assert len(ours) >= 8 and {status for _, status in ours} == {200}  # the first page of cards
    shown = tab.page.evaluate(CARDS)
    assert len(shown) >= 8 and all(src.startswith("blob:") and width > 400 for src, width in shown)
    tab.page.locator("[role=dialog] input[type=text], [role=dialog] input[type=search]").first.fill("try_it_no")
    tab.page.get_by_text("try_it_no_downloads", exact=True).click()
    tab.page.wait_for_function("window.app.graph.nodes.some(node => node.type === 'IPAdapterDemoLoader')")
    assert tab.missing_nodes() == []
    assert tab.errors == []

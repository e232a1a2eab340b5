"""Exact places for a graph in columns: far enough apart for both of the page's ways to draw nodes.

Vue nodes are taller than canvas nodes, so places come from what a browser measures, not from a table.
"""

from typing import Any

from harness.browser import ComfyPage

GAP = 40  # between columns, in pixels of the graph
BELOW = 70  # between nodes of a column: the front end of ComfyUI 0.16 draws Vue nodes up to 60 taller than today's
TITLE = 30  # a node's title stands above its position
MEASURE = """
() => Object.fromEntries([...document.querySelectorAll('[data-node-id]')].map(
  e => [e.dataset.nodeId, [e.offsetWidth, e.offsetHeight]]))
"""
DRAWN = """
() => [...document.querySelectorAll('[data-node-id]')].map(e => {
  const box = e.getBoundingClientRect()
  return [e.dataset.nodeId, box.left, box.top, box.right, box.bottom]
})
"""
LEAST = "() => Object.fromEntries(window.app.graph.nodes.map(n => [n.id, [...n.computeSize()]]))"
COVERING = """
boxes => {
  const name = id => `${window.app.graph.getNodeById(id).type} ${id}`
  const found = []
  boxes.forEach(([a, left, top, right, bottom], i) => boxes.slice(i + 1).forEach(([b, l, t, r, u]) => {
    if (left < r && l < right && top < u && t < bottom) found.push(`${name(a)} and ${name(b)}`)
  }))
  return found
}
"""  # pairs of boxes that have pixels in common


SHOWN_ALL = """
() => [...document.querySelectorAll('.atelier-drawing')].every(e =>
  !e.querySelector('img').hidden || e.querySelector('p').textContent)
"""  # whether every drawing in a node (web/live) has its picture, or the message that replaces it


def use_vue_nodes(page: ComfyPage) -> ComfyPage:
    """Draw nodes as Vue components from now on, at the places that a file says."""
    if not page.vue:
        page.set("Comfy.VueNodes.AutoScaleLayout", False)
        page.set("Comfy.VueNodes.Enabled", True)
        page.vue = True
    return page


def use_canvas_nodes(page: ComfyPage) -> None:
    """Draw nodes on the canvas again."""
    if page.vue:
        page.set("Comfy.VueNodes.Enabled", False)
        page.set("Comfy.VueNodes.AutoScaleLayout", True)
        page.vue = False


def measure(page: ComfyPage, workflow: dict[str, Any]) -> dict[int, tuple[int, int]]:
    """Width and height of every node of a workflow as Vue components, by its id, titles included."""
    page.load(workflow)
    page.page.wait_for_timeout(1500)  # until pictures have come and notes have grown around their text
    return {int(id): (width, height) for id, (width, height) in page.page.evaluate(MEASURE).items()}


def overlaps(page: ComfyPage) -> list[str]:
    """Pairs of nodes of the open graph that cover each other as Vue components, drawings in nodes included."""
    page.page.wait_for_function(SHOWN_ALL)
    page.settle()
    return page.page.evaluate(COVERING, page.page.evaluate(DRAWN))


def overlaps_on_canvas(page: ComfyPage, workflow: dict[str, Any]) -> list[str]:
    """Pairs of nodes of the open graph that cover each other on a canvas, where a node has the size that the file
    says or the least that its widgets need.
    """
    least, boxes = page.page.evaluate(LEAST), []
    for node in workflow["nodes"]:
        (left, top), id = node["pos"], str(node["id"])
        width, height = (max(sizes) for sizes in zip(node["size"], least[id], strict=True))
        boxes.append([id, left, top - TITLE, left + width, top + height])
    return page.page.evaluate(COVERING, boxes)


def place(workflow: dict[str, Any], measured: dict[int, tuple[int, int]]) -> None:
    """Give every node its position: columns are the nodes with one x, from top to bottom in the order of y."""
    columns: dict[float, list[dict[str, Any]]] = {}
    for node in workflow["nodes"]:
        columns.setdefault(node["pos"][0], []).append(node)
    left = 0
    for _, column in sorted(columns.items()):
        top, widest = 0, 0
        for node in sorted(column, key=lambda node: node["pos"][1]):
            width, height = measured.get(node["id"], (0, 0))
            node["pos"] = [left, top]
            widest = max(widest, node["size"][0], width)
            top += max(node["size"][1] + TITLE, height) + BELOW
        left += widest + GAP

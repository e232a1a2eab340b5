"""Write workflows/*.json, their pictures and subgraphs/*.json: python -m authoring.draw_workflows [name ...]

ComfyUI's own page makes and saves the graphs, so the files are exactly what a user would have saved. Lessons on the
demo's models are run, so that their pictures show what came out.
"""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from faces.assets import write_face_packs
from harness.browser import EMPTY, ComfyPage, launch
from harness.host import ROOT
from harness.lesson_pictures import write_examples
from harness.server import Server

from .layout import measure, place, use_vue_nodes
from .lessons import RECIPES
from .lessons.blueprints import BLUEPRINTS
from .lessons.files import PACKS
from .results import save_result
from .subgraph import fold

FOLDER, BLOCKS = ROOT / "workflows", ROOT / "subgraphs"
VIEW: Any = {"width": 2000, "height": 1125}  # so that words in wide graphs can be read
# What a window shows first: the note and the nodes beside it, so large that the page draws their letters (14 pixels
# high, not drawn below 8). The page's template browser ignores it and fits the whole graph into the window.
FIRST_SIGHT = {"ds": {"scale": 0.6, "offset": [140, 200]}}
BUILD = """
async recipe => {
  const graph = window.app.graph
  const made = {}
  for (const [name, part] of Object.entries(recipe.nodes)) {
    const node = LiteGraph.createNode(part.type)
    if (!node) throw new Error(`no node type ${part.type}`)
    graph.add(node)
    node.pos = part.at.map(place => place * 1000)
    if (part.mode) node.mode = part.mode
    if (part.title) node.title = part.title
    if (part.models) node.properties.models = part.models
    for (const [widget, value] of Object.entries(part.widgets || {})) {
      const found = node.widgets.find(w => w.name === widget)
      if (!found) throw new Error(`${part.type} has no widget ${widget}`)
      found.value = value
      found.callback?.(value)
    }
    const [width, height] = node.computeSize()
    node.setSize([Math.max(width, part.size[0]), Math.max(height, part.size[1])])
    made[name] = node
  }
  for (const [name, part] of Object.entries(recipe.nodes))
    for (const [input, [source, slot]] of Object.entries(part.links || {})) {
      if (!made[source].connect(slot, made[name], input)) throw new Error(`${source} -> ${name}.${input}`)
      if (input.includes('.')) await new Promise(done => setTimeout(done, 100))  // the node grows its next input
    }
  return graph.serialize()
}
"""
GRAPH_AREA = """
() => {
  const nodes = window.app.graph.nodes, ds = window.app.canvas.ds, margin = 20
  const left = Math.min(...nodes.map(n => n.pos[0])), top = Math.min(...nodes.map(n => n.pos[1] - 45))
  const right = Math.max(...nodes.map(n => n.pos[0] + n.size[0]))
  const bottom = Math.max(...nodes.map(n => n.pos[1] + n.size[1]))
  const [x, y] = [(left + ds.offset[0]) * ds.scale - margin, (top + ds.offset[1]) * ds.scale - margin]
  return [x, y, (right - left) * ds.scale + 2 * margin, (bottom - top) * ds.scale + 2 * margin]
}
"""  # fmt: skip


def build(page: ComfyPage, name: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """The graph of a recipe, as the page saves it; a graph of its own, since the page keeps values by node id."""
    own = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    page.load(EMPTY | {"id": own})
    return tidy(page.page.evaluate(BUILD, recipe), own)


def tidy(workflow: dict[str, Any], own: str) -> dict[str, Any]:
    """A workflow without the ids and views of one visit of the page, so that drawing it again gives the same file."""
    workflow.pop("revision", None)
    workflow["id"] = own
    workflow["extra"] = {}
    return workflow


def draw(page: ComfyPage, vue: ComfyPage, name: str, target: Path) -> None:
    """Write a lesson's graph and its picture. `vue` is a page that draws nodes as Vue components."""
    workflow = build(page, name, RECIPES[name])
    place(workflow, measure(vue, workflow))
    workflow["extra"] = FIRST_SIGHT
    write(workflow, target / f"{name}.json")
    page.load(workflow)
    if RECIPES[name].get("run"):
        page.run()
        save_result(page, name)
    photograph(page, target / f"{name}.jpg")


def photograph(page: ComfyPage, file: Path) -> None:
    """Write a JPEG of the whole graph, without the page around it."""
    page.command("Comfy.Canvas.FitView")
    page.page.wait_for_timeout(1500)
    left, top, width, height = page.page.evaluate(GRAPH_AREA)
    area: Any = {"x": left, "y": top, "width": width, "height": height}
    page.page.screenshot(path=file, type="jpeg", quality=85, clip=area)


def write(workflow: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(workflow, indent=1, ensure_ascii=False) + "\n", "utf-8")


def draw_blueprint(page: ComfyPage, vue: ComfyPage, name: str) -> None:
    blueprint = BLUEPRINTS[name]
    workflow = build(page, name, blueprint.canvas.recipe)
    place(workflow, measure(vue, workflow))
    write(fold(name, blueprint, workflow), BLOCKS / f"{name}.json")


def main() -> None:
    names = sys.argv[1:] or [*RECIPES, *BLUEPRINTS]
    write_examples()
    with Server() as server, sync_playwright() as playwright:
        write_face_packs(server.base / "models" / "insightface" / "models", PACKS)
        browser = launch(playwright)
        page, vue = ComfyPage(browser, server.url), use_vue_nodes(ComfyPage(browser, server.url))
        page.page.set_viewport_size(VIEW)
        page.page.add_style_tag(content=".p-toast { display: none }")
        page.command("Workspace.ToggleFocusMode")  # the graph alone, without bars and tabs
        for name in names:
            server.forget()  # what ComfyUI has kept shows no preview again
            if name in BLUEPRINTS:
                draw_blueprint(page, vue, name)
            else:
                draw(page, vue, name, FOLDER)
            print(name, *page.errors, *vue.errors, flush=True)


if __name__ == "__main__":
    main()

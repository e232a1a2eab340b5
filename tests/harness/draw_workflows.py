"""Write workflows/*.json and their pictures: python -m harness.draw_workflows [name ...]

ComfyUI's own page lays out and saves the graphs, so the files are exactly what a user would have saved.
"""

import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from faces.assets import write_face_packs

from . import demo_recipes, face_recipes, measuring_recipes, recipes, schedule_recipes, transformer_recipes
from .browser import ComfyPage, launch
from .host import ROOT
from .server import Server

FOLDER = ROOT / "workflows"
RECIPES = (
    demo_recipes.RECIPES | recipes.RECIPES | schedule_recipes.RECIPES | face_recipes.RECIPES
    | measuring_recipes.RECIPES | transformer_recipes.RECIPES
)
BUILD = """
recipe => {
  const graph = window.app.graph
  graph.clear()
  const made = {}
  for (const [name, part] of Object.entries(recipe.nodes)) {
    const node = LiteGraph.createNode(part.type)
    if (!node) throw new Error(`no node type ${part.type}`)
    graph.add(node)
    node.pos = part.at
    if (part.size) node.setSize(part.size)
    if (part.title) node.title = part.title
    if (part.models) node.properties.models = part.models
    for (const [widget, value] of Object.entries(part.widgets || {})) {
      const found = node.widgets.find(w => w.name === widget)
      if (!found) throw new Error(`${part.type} has no widget ${widget}`)
      found.value = value
      found.callback?.(value)
    }
    made[name] = node
  }
  for (const [name, part] of Object.entries(recipe.nodes))
    for (const [input, [source, slot]] of Object.entries(part.links || {}))
      if (!made[source].connect(slot, made[name], input)) throw new Error(`${source} -> ${name}.${input}`)
  return graph.serialize()
}
"""


def tidy(workflow: dict[str, Any]) -> dict[str, Any]:
    """Without what belongs to one visit of the page, so that drawing again changes nothing."""
    for key in ("id", "revision"):
        workflow.pop(key, None)
    workflow["extra"] = {}
    return workflow


def draw(page: ComfyPage, name: str, target: Path) -> None:
    workflow = tidy(page.page.evaluate(BUILD, RECIPES[name]))
    text = json.dumps(workflow, indent=1, sort_keys=False)
    (target / f"{name}.json").write_text(text + "\n", "utf-8")
    page.load(workflow)
    if RECIPES[name].get("run"):
        page.run()
    page.screenshot(target / f"{name}.jpg")


def main() -> None:
    names = sys.argv[1:] or list(RECIPES)
    with Server() as server, sync_playwright() as playwright:
        write_face_packs(server.base / "models" / "insightface" / "models", face_recipes.PACKS)
        browser = launch(playwright)
        for name in names:
            page = ComfyPage(browser, server.url)  # a page remembers widget values by node id
            draw(page, name, FOLDER)
            print(FOLDER / f"{name}.json", *page.errors)


if __name__ == "__main__":
    main()

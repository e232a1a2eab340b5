"""Every file in subgraphs/ is in the page's node library, opens, and runs inside another graph."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from authoring.lessons.blueprints import BLUEPRINTS
from harness.browser import ComfyPage
from harness.graph import Graph
from harness.sampling import sample
from harness.server import Server
from test_nodes_pack.standins import tiny_clip_vision
from workflows.pages import read

FOLDER = Path(__file__).parents[2] / "subgraphs"
FILES = sorted(FOLDER.glob("*.json"))
# What is connected to a blueprint's inputs, by their types.
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "MODEL": ("TestModel", {"family": "sd15", "seed": 1}),
    "IMAGE": ("LoadImage", {"image": "astronaut.png"}),
    "LATENT": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
    "MASK": ("SolidMask", {"value": 1.0, "width": 64, "height": 64}),
}
# What applies a reference in them, and its input for how strongly.
APPLY = {"IPAdapterAdvanced": "weight", "IPAdapterFaceID": "weight", "IPAdapterReference": "strength"}
CONNECT = """
sources => {
  const graph = window.app.graph, block = graph.nodes[0]
  for (const input of block.inputs) {
    const name = (Array.isArray(input.type) ? input.type : `${input.type}`.split(',')).find(type => sources[type])
    if (input.widget || !name) continue
    const [type, widgets] = sources[name]
    const node = LiteGraph.createNode(type)
    graph.add(node)
    for (const [widget, value] of Object.entries(widgets)) node.widgets.find(w => w.name === widget).value = value
    node.connect(0, block, block.inputs.indexOf(input))
  }
  return block.inputs.filter(input => !input.widget && !input.link).map(input => input.name)
}
"""


CHANGE = """
() => {
  const widgets = window.app.graph.nodes[0].widgets.filter(widget => typeof widget.value === 'number')
  for (const widget of widgets) widget.value = widget.value / 2
  return widgets.length
}
"""
SAVED = "JSON.parse(JSON.stringify(window.app.graph.serialize()))"


@pytest.fixture(scope="module", autouse=True)
def vision_model(server: Server) -> None:
    encoder = tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224).get_sd()
    save_file(encoder, server.base / "models" / "clip_vision" / "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors")


@pytest.fixture(scope="module")
def prompt_of(tab: ComfyPage) -> Callable[[Path], dict[str, Any]]:
    """The API prompt of a blueprint with everything connected, opened once; its ids leave numbers to what is added."""

    @cache
    def prompt_of(file: Path) -> dict[str, Any]:
        tab.load(read(file))
        assert tab.missing_nodes() == [] and tab.errors == []
        assert tab.page.evaluate(CONNECT, SOURCES) == []
        prompt = tab.prompt()
        for node in prompt.values():
            links = {name: value for name, value in node["inputs"].items() if isinstance(value, list)}
            node["inputs"] |= {name: [f"page {source}", slot] for name, (source, slot) in links.items()}
        return {f"page {id}": node for id, node in prompt.items()}

    return prompt_of


def run(server: Server, prompt: dict[str, Any], weight: float | None = None) -> torch.Tensor:
    """What is sampled from the model that leaves the blueprint's last apply node."""
    g = Graph()
    g.prompt |= copy.deepcopy(prompt)
    applied = [id for id, node in prompt.items() if node["class_type"] in APPLY]
    for id in applied if weight is not None else ():
        g.prompt[id]["inputs"][APPLY[prompt[id]["class_type"]]] = weight
    g.save("latent", sample(g, [applied[-1], 0])[0])
    return server.run(g).tensor("latent")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_opens_and_acts_on_the_model_as_its_weight_says(prompt_of, server: Server, file: Path):
    prompt = prompt_of(file)
    followed = run(server, prompt)
    assert followed.isfinite().all()
    assert not torch.equal(followed, run(server, prompt, weight=0.0))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_widgets_hold_the_values_that_its_description_says(prompt_of, file: Path):
    prompt = prompt_of(file)
    inputs = [(node["class_type"], node["inputs"]) for node in prompt.values()]
    for part in BLUEPRINTS[file.stem].canvas.nodes.values():
        wanted = part["widgets"].items()
        assert any(kind == part["type"] and wanted <= given.items() for kind, given in inputs), part["type"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_values_that_are_changed_are_there_when_the_graph_is_saved_and_opened_again(tab: ComfyPage, file: Path):
    """Front ends since 1.47 read the widgets of a block from its links, and bring back the values of entries of
    `proxyWidgets` that they do not know, whatever the widgets hold.
    """
    tab.load(read(file))
    described = tab.prompt()
    assert tab.page.evaluate(CHANGE) > 0
    changed, saved = tab.prompt(), tab.page.evaluate(SAVED)
    tab.load(saved)
    assert changed != described
    assert (tab.prompt(), tab.page.evaluate(SAVED), tab.errors) == (changed, saved, [])
    assert "proxyWidgetErrorQuarantine" not in saved["nodes"][0]["properties"]


def test_the_node_library_has_every_blueprint(page: ComfyPage, server: Server):
    assert set(BLUEPRINTS) == {file.stem for file in FILES}
    offered = server.call("/global_subgraphs").values()
    ours = {one["name"] for one in offered if one["info"]["node_pack"].endswith("ComfyUI-IPAdapter-Atelier")}
    assert ours == set(BLUEPRINTS)
    listed = page.page.evaluate("Object.values(LiteGraph.registered_node_types).map(type => type.title)")
    assert ours <= set(listed)

"""In the page, nodes show what they make while somebody edits them: the picture that the code itself draws."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.browser import ComfyPage
from harness.server import Server
from pack.charts.heat_map import THEMES, draw_schedule
from pack.ipadapter.families import LAYOUTS
from pack.masks.compose import OPERATIONS, composite_masks, solid_mask
from pack.masks.draw import draw_masks
from pack.masks.regions import draw_regions, soften, split_canvas
from pack.weight_schedules.schedule import CombinedSchedule, Schedule, WeightSchedule
from pack.weight_schedules.steps import StepCurve
from workflows.pages import drawing_nodes

SHOWN = """
async id => {
  const node = window.app.graph.getNodeById(id)
  const element = node.widgets.find(one => one.name === "atelier drawing").element
  const [image, words] = [element.querySelector("img"), element.querySelector("p")]
  if (!image.src || image.hidden) return { words: words.textContent }
  for (let source = null; source !== image.src; ) {  // another picture in the middle is no damaged one: look again
    source = image.src
    await image.decode().catch(error => { if (image.src === source) throw error })
  }
  // The page lays a new node out in one of its next frames, and a busy machine has few.
  const laidOut = () => image.getBoundingClientRect().width > 0
  for (let frame = 0; frame < 60 && !laidOut(); frame++) await new Promise(requestAnimationFrame)
  const copy = document.createElement("canvas")
  Object.assign(copy, { width: image.naturalWidth, height: image.naturalHeight })
  copy.getContext("2d").drawImage(image, 0, 0)
  const box = element.isConnected ? image.getBoundingClientRect() : { width: 0, height: 0 }
  return { png: copy.toDataURL("image/png").split(",")[1], box: [box.width, box.height] }
}
"""
ADD = """
([type, values, at]) => {
  const node = LiteGraph.createNode(type)
  window.app.graph.add(node)
  node.pos = at
  for (const [name, value] of Object.entries(values)) node.widgets.find(one => one.name === name).value = value
  return node.id
}
"""
LINK = """
([source, slot, target, name]) => {
  const graph = window.app.graph
  graph.getNodeById(source).connect(slot, graph.getNodeById(target), name)
}
"""
SAYS = """
([id, words]) => {
  const { element } = window.app.graph.getNodeById(id).widgets.find(one => one.name === "atelier drawing")
  return element.querySelector("p").textContent.includes(words)
}
"""
RAN = """
id => window.app.graph.getNodeById(id).widgets.some(widget => widget.name === "$$canvas-image-preview")
  || !!document.querySelector(`[data-node-id="${id}"] .image-preview`)?.offsetHeight
"""  # whether a node shows the pictures of its last run, on the canvas or as a Vue component
UNLINK = """
([id, name]) => {
  const node = window.app.graph.getNodeById(id)
  node.disconnectInput(node.inputs.findIndex(input => input.name === name))
}
"""
SET = "([id, name, value]) => { window.app.graph.getNodeById(id).widgets.find(w => w.name === name).value = value }"


@pytest.fixture(scope="module", params=["canvas", "vue"])
def page(tab: ComfyPage, request: pytest.FixtureRequest) -> Iterator[ComfyPage]:
    yield from drawing_nodes(tab, request.param)


def add(page: ComfyPage, type: str, at: tuple[int, int] = (0, 0), **values: Any) -> int:
    return page.page.evaluate(ADD, [type, values, at])


def link(page: ComfyPage, source: int, target: int, name: str, slot: int = 0) -> None:
    page.page.evaluate(LINK, [source, slot, target, name])


def shown(page: ComfyPage, id: int) -> np.ndarray | str:
    """What a node shows: pixels, or words."""
    found = page.page.evaluate(SHOWN, id)
    if "words" in found:
        return found["words"]
    assert min(found["box"]) > 30, found["box"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found["png"]))).convert("RGB"))


def wait_for(page: ComfyPage, id: int, expected: Image.Image | str) -> None:
    """Wait until a node shows just that; the last assertion says what it shows instead."""
    wanted = expected if isinstance(expected, str) else np.asarray(expected.convert("RGB"))
    found = shown(page, id)
    for _ in range(60):
        if type(found) is type(wanted) and np.array_equal(found, wanted):
            return
        page.page.wait_for_timeout(250)
        found = shown(page, id)
    assert isinstance(found, str) == isinstance(wanted, str), found if isinstance(found, str) else found.shape
    assert np.array_equal(found, wanted)


def heat_map(schedule: Schedule, family: str = "SD1.5", theme: str = "dark") -> Image.Image:
    return draw_schedule(schedule.resolve(LAYOUTS[family]), LAYOUTS[family], theme=THEMES[theme])


CLICK = """
id => {
  const { element } = window.app.graph.getNodeById(id).widgets.find(one => one.name === "atelier drawing")
  element.click()
}
"""


def test_a_schedule_is_drawn_again_after_every_edit_for_either_family_in_either_theme(page: ComfyPage):
    page.clear()
    id = add(page, "IPAdapterWeightSchedule", steps="linear down", low=0.2)
    wait_for(page, id, heat_map(WeightSchedule("linear", StepCurve("linear down", 0.2))))
    page.page.evaluate(SET, [id, "layers", "style transfer"])
    edited = WeightSchedule("style transfer", StepCurve("linear down", 0.2))
    wait_for(page, id, heat_map(edited))
    page.page.evaluate(CLICK, id)
    wait_for(page, id, heat_map(edited, "SDXL"))
    page.set("Comfy.ColorPalette", "light")
    wait_for(page, id, heat_map(edited, "SDXL", "light"))
    page.set("Comfy.ColorPalette", "dark")
    wait_for(page, id, heat_map(edited, "SDXL"))
    page.page.evaluate(SET, [id, "layer_text", "3:a"])
    page.page.wait_for_function(SAYS, arg=[id, "3:a"], timeout=20_000)
    assert "3:a" in str(shown(page, id))
    assert page.errors == []


def test_clicks_go_through_every_family_also_where_a_weight_type_is_unknown_for_one(page: ComfyPage):
    page.clear()
    id = add(page, "IPAdapterWeightSchedule", steps="linear down", low=0.2)
    schedule = WeightSchedule("linear", StepCurve("linear down", 0.2))
    wait_for(page, id, heat_map(schedule))
    for family in (*list(LAYOUTS)[1:], *LAYOUTS):
        page.page.evaluate(CLICK, id)
        wait_for(page, id, heat_map(schedule, family))
    page.page.evaluate(SET, [id, "layers", "style transfer"])  # the last family is a transformer
    page.page.wait_for_function(SAYS, arg=[id, "layers carry style"], timeout=20_000)
    page.page.evaluate(CLICK, id)
    wait_for(page, id, heat_map(WeightSchedule("style transfer", StepCurve("linear down", 0.2))))
    assert page.errors == []


def test_a_combination_is_drawn_once_both_are_connected_and_when_one_of_them_is_edited(page: ComfyPage):
    page.clear()
    first, second = (add(page, "IPAdapterWeightSchedule", at) for at in ((0, 0), (0, 600)))
    both = add(page, "IPAdapterCombineSchedules", (450, 0), method="composition from second")
    link(page, first, both, "first")
    wait_for(page, both, "Connect second to see what it makes.")
    link(page, second, both, "second")
    plain = WeightSchedule("linear")
    wait_for(page, both, heat_map(CombinedSchedule("composition from second", plain, plain)))
    page.page.evaluate(SET, [second, "start", 0.2])
    part = WeightSchedule("linear", StepCurve(start=0.2))
    wait_for(page, both, heat_map(CombinedSchedule("composition from second", plain, part)))
    assert page.errors == []


def test_masks_and_regions_follow_a_canvas_through_links(page: ComfyPage):
    page.clear()
    latent = add(page, "EmptyLatentImage", (0, 0), width=512, height=256)
    below = add(page, "IPAdapterSolidMask", (300, 0), value=0.0)
    above = add(page, "IPAdapterSolidMask", (300, 500), width_fraction=0.5)
    both = add(page, "IPAdapterMaskComposite", (650, 0), operation="add", x_fraction=0.25)
    split = add(page, "IPAdapterSplitCanvas", (1000, 0), split="columns", columns=3, softness=0.1)
    for target in (below, above, split):
        link(page, latent, target, "canvas")
    link(page, below, both, "destination")
    link(page, above, both, "source")
    for height in (256, 384):
        page.page.evaluate(SET, [latent, "height", height])
        middle = composite_masks(solid_mask(0.0, height, 512), solid_mask(1.0, height, 256), 128, 0, "add")
        wait_for(page, above, draw_masks(solid_mask(1.0, height, 256)))
        wait_for(page, both, draw_masks(middle))
        wait_for(page, split, draw_regions(soften(split_canvas([1], [1, 1, 1], height, 512), 0.1)))
    assert "add" in OPERATIONS and page.errors == []


def test_regions_of_a_loaded_drawing_are_drawn_before_any_run(page: ComfyPage, server: Server):
    painting = np.full((96, 96, 3), 255, np.uint8)
    painting[:, :40], painting[:, 56:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(painting).save(server.base / "input" / "red and blue.png")
    page.clear()
    regions = add(page, "IPAdapterRegionsByColour", (400, 0), width=96, height=96)
    wait_for(page, regions, "Connect drawing to see what it makes.")
    link(page, add(page, "LoadImage", image="red and blue.png"), regions, "drawing")
    expected = split_canvas([1], [40, 16, 40], 96, 96)[[0, 2]]
    wait_for(page, regions, draw_regions(expected))
    assert page.errors == []


def test_what_is_known_only_when_the_graph_runs_is_said(page: ComfyPage):
    page.clear()
    split = add(page, "IPAdapterSplitCanvas", (600, 0))
    encoded = add(page, "VAEEncode", (300, 0))
    link(page, encoded, split, "canvas")
    wait_for(page, split, "VAE Encode is known when the graph runs.")


def test_a_drawing_takes_the_place_of_the_picture_of_a_run(page: ComfyPage):
    page.clear()
    latent, larger = add(page, "EmptyLatentImage", width=64, height=64), add(page, "LatentUpscaleBy", (300, 0))
    split = add(page, "IPAdapterSplitCanvas", (600, 0), width=256)
    link(page, latent, larger, "samples")
    link(page, larger, split, "canvas")
    page.page.evaluate("window.app.queuePrompt(0, 1)")
    page.page.wait_for_function(RAN, arg=split, timeout=60_000)
    page.page.evaluate(UNLINK, [split, "canvas"])
    wait_for(page, split, draw_regions(split_canvas([1], [1, 1], 512, 256)))
    page.page.wait_for_function(f"id => !({RAN})(id)", arg=split, timeout=20_000)
    link(page, larger, split, "canvas")
    page.page.wait_for_function(RAN, arg=split, timeout=20_000)  # as the node cannot be drawn before a run


def test_a_drawing_adds_nothing_to_what_is_saved_or_sent(page: ComfyPage, server: Server):
    page.clear()
    id = add(page, "IPAdapterSolidMask")
    wait_for(page, id, draw_masks(solid_mask(1.0, 512, 512)))
    assert page.page.evaluate("window.app.graph.serialize().nodes[0].widgets_values") == [1, 512, 512, 1, 1]
    assert page.prompt()[str(id)]["inputs"].keys() == {"value", "width", "height", "width_fraction", "height_fraction"}
    assert json.dumps(page.errors) == "[]"

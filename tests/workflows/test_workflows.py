"""Every file in workflows/ opens in ComfyUI's page, runs, and gives the same bits from the page and from a script."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser

from harness.browser import ComfyPage
from harness.server import Server
from harness.tiny_runs import with_latents_saved, with_stand_ins

FOLDER = Path(__file__).parents[2] / "workflows"
FILES = sorted(FOLDER.glob("*.json"))
PAGE_ONLY = ("fixed", "image")  # widget values of the page itself: control_after_generate, and the upload button
WATCHERS = ("IPAdapterAttentionMap",)  # cannot run where the sampler goes past the recorder
CHECKPOINTS = ("CheckpointLoaderSimple", "IPAdapterDemoLoader")
APPLY = (
    "IPAdapterApply", "IPAdapterAdvanced", "IPAdapterFaceID", "IPAdapterFaceIDLoRA",
    "IPAdapterEmbeds",
    "IPAdapterLayerSweep",  # needs something applied
)  # fmt: skip


@pytest.fixture(scope="module", params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server, file: Path) -> Iterator[ComfyPage]:
    """A tab for each file: opening one takes seconds, and a tab remembers what other files' nodes were set to."""
    opened = ComfyPage(browser, server.url)
    yield opened
    opened.page.close()


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8"))


def latent_of(server: Server, prompt: dict[str, Any]) -> torch.Tensor:
    return server.run(with_latents_saved(with_stand_ins(prompt))).tensor("latent")


def api_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The API prompt of a workflow without groups, reroutes or subgraphs, made without a browser."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] not in object_info:
            continue  # a note, which is the page's own
        linked = {port["name"]: links[port["link"]] for port in node["inputs"] if port.get("link")}
        known = [name for names in object_info[node["type"]]["input_order"].values() for name in names]
        widgets = [port["name"] for port in node["inputs"] if "widget" in port and port["name"] in known]
        values = [value for value in node.get("widgets_values", ()) if value not in PAGE_ONLY]
        inputs = dict(zip(widgets, values, strict=True)) | linked
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": node["type"]}}
    return prompt


def test_it_opens_in_the_page_with_no_missing_node_and_no_complaint(page: ComfyPage, file: Path):
    page.load(read(file))
    assert page.missing_nodes() == []
    assert page.errors == []


def test_it_runs_with_stand_ins_and_gives_the_same_bits_without_the_page(page: ComfyPage, server: Server, file: Path):
    page.load(read(file))
    prompt = page.prompt()
    from_page = latent_of(server, prompt)
    scripted = api_prompt(read(file), server.call("/object_info"))
    assert {id: node["inputs"] for id, node in prompt.items()} == {id: n["inputs"] for id, n in scripted.items()}
    assert from_page.isfinite().all()
    server.forget()
    again = server.run(with_latents_saved(with_stand_ins(scripted)))
    assert not again.cached
    assert torch.equal(from_page, again.tensor("latent"))


def test_bypassing_its_apply_nodes_leaves_the_model_unpatched(page: ComfyPage, server: Server, file: Path):
    page.load(read(file))
    whole = page.prompt()
    workflow = read(file)
    for node in workflow["nodes"]:
        if node["type"] in APPLY:
            node["mode"] = 4
    page.load(workflow)
    bypassed = page.prompt()
    assert not {node["class_type"] for node in bypassed.values()} & set(APPLY)
    plain = {id: node for id, node in json.loads(json.dumps(whole)).items() if node["class_type"] not in WATCHERS}
    checkpoint = next(id for id, node in whole.items() if node["class_type"] in CHECKPOINTS)
    next(node for node in plain.values() if node["class_type"] == "KSampler")["inputs"]["model"] = [checkpoint, 0]
    without = latent_of(server, bypassed)
    assert torch.equal(without, latent_of(server, plain))
    assert not torch.equal(without, latent_of(server, whole))


def test_every_workflow_has_a_picture_of_the_same_name():
    assert FILES
    for file in FILES:
        with Image.open(file.with_suffix(".jpg")) as picture:
            assert min(picture.size) >= 400


def test_comfyui_offers_the_workflows_as_templates(server: Server):
    assert set(server.call("/workflow_templates")["ComfyUI-IPAdapter-Atelier"]) == {file.stem for file in FILES}


@pytest.mark.parametrize("template", FILES, ids=lambda file: file.stem)
def test_comfyui_serves_a_template_and_its_picture(server: Server, template: Path):
    address = f"{server.url}/api/workflow_templates/ComfyUI-IPAdapter-Atelier/{template.stem}"
    for ending in (".json", ".jpg"):
        with urlopen(address + ending, timeout=60) as answer:
            assert answer.read() == template.with_suffix(ending).read_bytes()

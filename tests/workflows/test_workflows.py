"""Every file in workflows/ opens in ComfyUI's page and runs, from the page and from a script alike."""

import copy
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest
import torch
from PIL import Image

from authoring.layout import overlaps
from authoring.lessons import RECIPES
from authoring.lessons.files import named
from harness.browser import ComfyPage
from harness.server import Server
from workflows.pages import api_prompt, default_of, latent_of, opened, read, values_of
from workflows.tiny_runs import with_latents_saved, with_stand_ins

FOLDER = Path(__file__).parents[2] / "workflows"
FILES = sorted(FOLDER.glob("*.json"))
LESSONS = [file for file in FILES if file.stem in RECIPES]
WATCHERS = ("IPAdapterAttentionMap",)  # cannot run where the sampler goes past the recorder
CHECKPOINTS = ("CheckpointLoaderSimple", "IPAdapterDemoLoader")
APPLY = (
    "IPAdapterApply", "IPAdapterAdvanced", "IPAdapterFaceID", "IPAdapterFaceIDLoRA", "LoraLoaderModelOnly",
    "IPAdapterLayerSweep",  # needs something applied
)  # fmt: skip
BYPASSED = ("style_reference_and_text", "left_person_only", "same_person", "attention_map", "try_it_no_downloads")
every_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
every_lesson = pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)


class Shown(NamedTuple):
    """A workflow in the page."""

    prompt: dict[str, Any]
    overlaps: list[str]


@pytest.fixture(scope="module")
def shown(tab: ComfyPage) -> Callable[[str], Shown]:
    """`shown("kolors")` opens a workflow once."""
    return cache(lambda name: Shown(opened(tab, read(FOLDER / f"{name}.json")), overlaps(tab)))


@pytest.fixture(scope="module")
def latent(server: Server, shown: Callable[[str], Shown]) -> Callable[[str], torch.Tensor]:
    """`latent("kolors")` samples a workflow as it is shown, once."""
    return cache(lambda name: latent_of(server, shown(name).prompt))


@pytest.fixture(scope="module")
def known(server: Server) -> dict[str, Any]:
    """What the server says of its nodes."""
    return server.call("/object_info")


@every_file
def test_it_opens_without_a_complaint_and_runs_from_the_page_as_from_a_script(page, shown, latent, known, file: Path):
    prompt, covering = shown(file.stem)
    assert covering == []
    scripted = api_prompt(read(file), known)
    assert {id: node["inputs"] for id, node in prompt.items()} == {id: n["inputs"] for id, n in scripted.items()}
    assert latent(file.stem).isfinite().all()
    assert page.errors == []  # it had all this time to complain


@pytest.mark.parametrize("name", BYPASSED)
def test_bypassing_its_apply_nodes_leaves_the_model_unpatched(
    page: ComfyPage, server: Server, shown, latent, name: str
):
    workflow = read(FOLDER / f"{name}.json")
    for node in workflow["nodes"]:
        if node["type"] in APPLY:
            node["mode"] = 4
    bypassed = opened(page, workflow)
    assert not {node["class_type"] for node in bypassed.values()} & set(APPLY)
    plain = {id: node for id, node in copy.deepcopy(shown(name).prompt).items() if node["class_type"] not in WATCHERS}
    checkpoint = next(id for id, node in plain.items() if node["class_type"] in CHECKPOINTS)
    next(node for node in plain.values() if node["class_type"] == "KSampler")["inputs"]["model"] = [checkpoint, 0]
    without = latent_of(server, bypassed)
    assert torch.equal(without, latent_of(server, plain))
    assert not torch.equal(without, latent(name))


def test_the_same_bits_come_again_after_everything_was_forgotten(server: Server, shown, latent):
    first = latent("two_people_two_references")
    server.forget()
    again = server.run(with_latents_saved(with_stand_ins(shown("two_people_two_references").prompt)))
    assert not again.cached
    assert torch.equal(first, again.tensor("latent"))


def saved_embeds(server: Server) -> list[str]:
    kind, *more = server.call("/object_info/IPAdapterLoadEmbeds")["IPAdapterLoadEmbeds"]["input"]["required"]["embeds"]
    return more[0]["options"] if kind == "COMBO" else kind


def test_saved_embeds_do_in_the_second_run_what_they_did_in_the_first(page: ComfyPage, server: Server, shown):
    workflow = read(FOLDER / "encode_mix_save_load_no_downloads.json")
    prompt = copy.deepcopy(shown("encode_mix_save_load_no_downloads").prompt)
    save = next(node for node in prompt.values() if node["class_type"] == "IPAdapterSaveEmbeds")
    save["inputs"]["filename_prefix"] = "of the first run"  # a server of many tests has saved others
    first = latent_of(server, prompt)
    (made,) = (name for name in saved_embeds(server) if name.startswith("of the first run"))
    later = {node["title"]: node for node in workflow["nodes"] if node.get("title", "").startswith("Later")}
    assert {node["mode"] for node in later.values()} == {2}
    for node in later.values():
        node["mode"] = 0
    prompt = opened(page, workflow)
    load, apply = (next(n for n in prompt.values() if n["_meta"]["title"] == title) for title in later)
    sampler = next(node for node in prompt.values() if node["class_type"] == "KSampler")
    sampler["inputs"]["model"] = [next(id for id, node in prompt.items() if node is apply), 0]
    load["inputs"]["embeds"] = made
    applied = [node for node in prompt.values() if node["class_type"] == "IPAdapterEmbeds"]
    apply["inputs"]["neg_embed"] = next(node for node in applied if node is not apply)["inputs"]["neg_embed"]
    assert torch.equal(first, latent_of(server, prompt))


@every_lesson
def test_it_says_on_the_canvas_what_to_try_next_in_english_and_chinese(file: Path):
    notes = [node["widgets_values"][0] for node in read(file)["nodes"] if node["type"] == "MarkdownNote"]
    assert len(notes) == 1 and "**Try next**" in notes[0] and "接着试试" in notes[0]


@every_file
def test_every_model_it_names_says_where_it_is_had(file: Path):
    for node in read(file)["nodes"]:
        values = node.get("widgets_values") or []
        files = [value for value in values if isinstance(value, str) and re.search(r"\.(safetensors|bin)$", value)]
        said = {model["name"]: model for model in node["properties"].get("models", ())}
        assert set(files) == set(said), f"{node['type']} names {files}, and says of {list(said)} where it is"
        if file in LESSONS:
            assert all(named(name) == [said[name]] for name in files)
        assert all(model["url"].startswith("https://") and model["directory"] for model in said.values())


@every_file
def test_it_has_a_picture_of_the_same_name(file: Path):
    with Image.open(file.with_suffix(".jpg")) as picture:
        assert min(picture.size) >= 400


def test_every_lesson_is_there_and_comfyui_offers_all_as_templates(server: Server):
    assert set(RECIPES) <= {file.stem for file in FILES}
    assert set(server.call("/workflow_templates")["ComfyUI-IPAdapter-Atelier"]) == {file.stem for file in FILES}


@every_lesson
def test_a_lesson_is_what_its_description_says_with_defaults_for_the_rest(known: dict[str, Any], file: Path):
    """A file that was changed by hand would be lost when it is drawn again."""
    nodes = read(file)["nodes"]
    parts = list(RECIPES[file.stem]["nodes"].values())
    assert [node["type"] for node in nodes] == [part["type"] for part in parts]
    for node, part in zip(nodes, parts, strict=True):
        for name, value in values_of(node, known).items():
            wanted = part["widgets"].get(name, default_of(known[node["type"]], name, value))
            assert value == wanted, f"{node['type']}.{name}: draw it again"


@pytest.mark.parametrize("template", FILES, ids=lambda file: file.stem)
def test_comfyui_serves_a_template_and_its_picture(server: Server, template: Path):
    address = f"{server.url}/api/workflow_templates/ComfyUI-IPAdapter-Atelier/{template.stem}"
    for ending in (".json", ".jpg"):
        with urlopen(address + ending, timeout=60) as answer:
            assert answer.read() == template.with_suffix(ending).read_bytes()

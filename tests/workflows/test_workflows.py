"""Every file in workflows/ opens in ComfyUI's page and runs, from the page and from a script alike."""

import copy
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest
import torch
from PIL import Image

from authoring.layout import overlaps, overlaps_on_canvas, use_canvas_nodes, use_vue_nodes
from authoring.lessons import RECIPES
from harness.browser import ComfyPage
from harness.prompts import api_prompt, values_of
from harness.server import Server
from workflows.pages import default_of, latent_of, opened, read
from workflows.tiny_runs import with_latents_saved, with_stand_ins

FOLDER = Path(__file__).parents[2] / "workflows"
FILES = sorted(FOLDER.glob("*.json"))
LESSONS = [file for file in FILES if file.stem in RECIPES]
WATCHERS = ("IPAdapterAttentionMap",)  # cannot run where the sampler goes past the recorder
CHECKPOINTS = ("CheckpointLoaderSimple", "IPAdapterDemoLoader")
APPLY = (
    "IPAdapterApply", "IPAdapterAdvanced", "IPAdapterReference", "IPAdapterFaceID", "IPAdapterFaceIDLoRA",
    "LoraLoaderModelOnly",
    "IPAdapterLayerSweep",  # needs something applied
)  # fmt: skip
BYPASSED = ("style_reference_and_text", "left_person_only", "same_person", "attention_map", "try_it_no_downloads")
SAMPLED_ANYWAY = (*BYPASSED, "two_people_two_references", "encode_mix_save_load_no_downloads")


def features(file: Path) -> set[Any]:
    """What a template is made of: its nodes, their connected inputs, the models it loads, what it switches off."""
    nodes = [node for node in read(file)["nodes"] if node["type"] != "MarkdownNote"]
    values = {value for node in nodes for value in node.get("widgets_values") or () if isinstance(value, str)}
    return {
        *(node["type"] for node in nodes),
        *((node["type"], port["name"]) for node in nodes for port in node["inputs"] if port.get("link")),
        *(value for value in values if re.search(r"\.(safetensors|bin|pth)$", value)),
        *(("mode", node["mode"]) for node in nodes),
    }


def covering_set() -> list[str]:
    """Names of templates that have every feature of all of them: those that tests sample anyway, then the richest."""
    of_file = {file.stem: features(file) for file in FILES}
    chosen: list[str] = [*SAMPLED_ANYWAY]
    missing = set().union(*of_file.values()) - set().union(*(of_file[name] for name in chosen))
    while missing:
        chosen.append(max(of_file, key=lambda name: len(of_file[name] & missing)))
        missing -= of_file[chosen[-1]]
    return chosen


class Shown(NamedTuple):
    """A workflow in the page: what Run would send, and which nodes cover each other in the two ways to draw them."""

    prompt: dict[str, Any]
    overlaps: list[str]
    overlaps_on_canvas: list[str]


@pytest.fixture(scope="module")
def shown(tab: ComfyPage) -> Iterator[Callable[[str], Shown]]:
    """`shown("kolors")` opens a workflow once, with its nodes as Vue components, which are the taller ones."""

    @cache
    def show(name: str) -> Shown:
        use_vue_nodes(tab)
        workflow = read(FOLDER / f"{name}.json")
        prompt = opened(tab, workflow)
        return Shown(prompt, overlaps(tab), overlaps_on_canvas(tab, workflow))

    yield show
    tab.clear()
    use_canvas_nodes(tab)


@pytest.fixture
def page(tab: ComfyPage) -> ComfyPage:
    """The tab, drawing nodes on a canvas."""
    use_canvas_nodes(tab)
    return tab


@pytest.fixture(scope="module")
def latent(server: Server, shown: Callable[[str], Shown]) -> Callable[[str], torch.Tensor]:
    """`latent("kolors")` samples a workflow as it is shown, once."""
    return cache(lambda name: latent_of(server, shown(name).prompt))


@pytest.fixture(scope="module")
def known(server: Server) -> dict[str, Any]:
    """What the server says of its nodes."""
    return server.call("/object_info")


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_it_opens_without_a_complaint_and_the_page_sends_what_a_script_would(tab, shown, known, name: str):
    prompt, covered, covered_on_canvas = shown(name)
    assert (covered, covered_on_canvas) == ([], [])
    scripted = api_prompt(read(FOLDER / f"{name}.json"), known)
    assert {id: node["inputs"] for id, node in prompt.items()} == {id: n["inputs"] for id, n in scripted.items()}
    assert tab.errors == []


def test_nothing_stands_below_pulid_whose_note_about_a_missing_face_parser_makes_it_higher():
    notes = []
    for file in FILES:
        nodes = read(file)["nodes"]
        for pulid in (node for node in nodes if node["type"].startswith("ApplyPulid")):
            x, y = pulid["pos"]
            notes.append([node["type"] for node in nodes if node["pos"][0] == x and node["pos"][1] > y])
    assert notes and not any(notes)


def test_nodes_that_cover_each_other_are_named(tab, shown):
    use_vue_nodes(tab)
    workflow = read(FOLDER / "kolors.json")
    first, second = (node for node in workflow["nodes"] if node["type"].startswith("IPAdapter"))
    second["pos"] = first["pos"]
    opened(tab, workflow)
    pair = [f"{node['type']} {node['id']}" for node in (first, second)]
    for found in (overlaps(tab), overlaps_on_canvas(tab, workflow)):
        assert any(all(name in line for name in pair) for line in found)


@pytest.mark.parametrize("name", covering_set())
def test_it_runs(latent, name: str):
    assert latent(name).isfinite().all()


def test_the_workflows_that_run_have_everything_that_any_workflow_has():
    run = set().union(*(features(FOLDER / f"{name}.json") for name in covering_set()))
    assert set().union(*map(features, FILES)) == run
    assert len(covering_set()) < len(FILES) * 2 / 3


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


def test_every_lesson_says_on_the_canvas_what_to_try_next_in_english_and_chinese():
    for file in LESSONS:
        notes = [node["widgets_values"][0] for node in read(file)["nodes"] if node["type"] == "MarkdownNote"]
        assert len(notes) == 1 and "**Try next**" in notes[0] and "接着试试" in notes[0], file.stem


def test_every_workflow_has_a_picture_of_the_same_name_and_no_dialog_dims_it():
    for file in FILES:
        with Image.open(file.with_suffix(".jpg")) as picture:
            assert min(picture.size) >= 400, file.stem
            assert picture.convert("L").getextrema()[1] > 200, f"{file.stem}: the page behind a dialog, draw it again"


def test_every_lesson_is_there_and_comfyui_offers_all_as_templates(server: Server):
    assert set(RECIPES) <= {file.stem for file in FILES}
    assert set(server.call("/workflow_templates")["ComfyUI-IPAdapter-Atelier"]) == {file.stem for file in FILES}


def test_every_lesson_is_what_its_description_says_with_defaults_for_the_rest(known: dict[str, Any]):
    """A file that was changed by hand would be lost when it is drawn again."""
    changed = []
    for file in LESSONS:
        nodes, parts = read(file)["nodes"], list(RECIPES[file.stem]["nodes"].values())
        assert [node["type"] for node in nodes] == [part["type"] for part in parts], file.stem
        for node, part in zip(nodes, parts, strict=True):
            if node["type"] == "MarkdownNote" and node["widgets_values"] != [part["widgets"]["text"]]:
                changed.append(f"{file.stem}: the note")  # of the page alone: the server knows no such node
            for name, value in values_of(node, known).items():
                if value != part["widgets"].get(name, default_of(known[node["type"]], name, value)):
                    changed.append(f"{file.stem}: {node['type']}.{name} is {value!r}")
    assert changed == [], "draw these again"


def test_comfyui_serves_every_template_and_its_picture(server: Server):
    for file in FILES:
        for ending in (".json", ".jpg"):
            address = f"{server.url}/api/workflow_templates/ComfyUI-IPAdapter-Atelier/{file.stem}{ending}"
            with urlopen(address, timeout=60) as answer:
                assert answer.read() == file.with_suffix(ending).read_bytes(), address

"""The files in the lists of every loader: broken links are in none, and names from Windows are found."""

import asyncio
import os
from pathlib import Path

import pytest

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

import execution
import folder_paths
from comfy_api.latest import io

from pack.nodes import NODES
from pack.nodes.guard import choice
from pack.nodes.loading.embeds_files import embeds_path
from pack.nodes.loading.files import adapter_path
from pack.nodes.loading.instantid import instantid_path
from pack.nodes.loading.openclip import encoder_path
from pack.nodes.loading.pulid import pulid_path

FOLDERS = ("ipadapter", "clip_vision", "open_clip", "instantid", "pulid", "insightface/models")
LISTS = {  # loaders with a list of files -> the folder of their files
    "IPAdapterModelLoader": "ipadapter", "IPAdapterOpenCLIPLoader": "clip_vision", "InstantIDModelLoader": "instantid",
    "PulidModelLoader": "pulid", "PulidFluxModelLoader": "pulid", "IPAdapterInsightFaceLoader": "insightface/models",
    "IPAdapterLoadEmbeds": "input",
}  # fmt: skip


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Model, input and output folders with a file and a broken link each."""
    for name in (*FOLDERS, "input", "output"):
        suffix = ".ipadpt" if name in ("input", "output") else "" if "/" in name else ".safetensors"
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / f"sub/real{suffix}").write_bytes(b"x")
        if os.name != "nt":
            for folder in (tmp_path / name, tmp_path / name / "sub"):
                (folder / f"nowhere{suffix}").symlink_to(tmp_path / "gone")
        if "/" not in name:
            entry = [str(tmp_path / name)], set(folder_paths.supported_pt_extensions)
            monkeypatch.setitem(folder_paths.folder_names_and_paths, name, entry)
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    for name in ("input", "output"):
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    folder_paths.filename_list_cache.clear()
    yield tmp_path
    folder_paths.filename_list_cache.clear()


def test_no_list_of_any_node_has_a_broken_link_and_each_loader_has_its_file(models):
    lists: dict[str, list[str]] = {}
    for node in NODES:
        schema = node.define_schema()
        for item in schema.inputs:
            if isinstance(item, io.Combo.Input):
                lists.setdefault(schema.node_id, []).extend(map(str, item.options or ()))
    assert [name for name, options in lists.items() if any("nowhere" in option for option in options)] == []
    missing = [name for name in LISTS if not any("sub" in option for option in lists.get(name, ()))]
    assert missing == [], "loaders whose list was not read from these folders"


def test_a_name_from_windows_is_found_by_every_loader_of_a_file(models):
    finders = {
        "ipadapter": adapter_path, "clip_vision": encoder_path, "instantid": instantid_path, "pulid": pulid_path,
        "input": embeds_path,
    }  # fmt: skip
    for folder, find in finders.items():
        suffix = ".ipadpt" if folder == "input" else ".safetensors"
        assert find(f"sub\\real{suffix}") == models / folder / f"sub/real{suffix}", folder


def test_a_name_from_another_system_is_good_to_comfyui_and_to_the_node_s_own_check(models, monkeypatch):
    """ComfyUI compares names with the list, unless a node has a check of its own for them."""
    refused = []
    for node in NODES:
        schema = node.GET_SCHEMA()
        if schema.node_id not in LISTS or LISTS[schema.node_id] == "insightface/models":  # packs are folders
            continue
        monkeypatch.setitem(execution.nodes.NODE_CLASS_MAPPINGS, schema.node_id, node)
        given = {item.id: item.default or item.options[0] for item in schema.inputs}
        file = next(item for item in schema.inputs if any("sub" in str(option) for option in item.options))
        given[file.id] = next(option for option in file.options if "sub" in option).replace("/", "\\")
        prompt = {"1": {"class_type": schema.node_id, "inputs": given}}
        valid, errors, _ = asyncio.run(execution.validate_inputs("test", prompt, "1", {}))
        refused += [] if valid else [(schema.node_id, errors)]
        monkeypatch.setattr(file, "options", [option.replace("/", "\\") for option in file.options])  # of Windows
        assert choice(file, "sub/real" + Path(given[file.id]).suffix)
    assert refused == []

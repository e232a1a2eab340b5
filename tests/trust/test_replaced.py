"""A file that was replaced is noticed, though it has the size and the time of the one before."""

import os

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import folder_paths
from safetensors.torch import save_file

from pack.ipadapter.embeds_file import FORMAT
from pack.nodes.embeds import IPAdapterLoadEmbeds
from pack.nodes.face_loader import IPAdapterInsightFaceLoader
from pack.nodes.loaders import IPAdapterModelLoader
from pack.nodes.openclip import IPAdapterOpenCLIPLoader
from pack.nodes.unified import IPAdapterUnifiedLoader, IPAdapterUnifiedLoaderFaceID


def replace(path, write) -> None:
    """Another content under the same name, size and time."""
    before = path.stat()
    write()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("node", [IPAdapterLoadEmbeds, IPAdapterModelLoader, IPAdapterOpenCLIPLoader])
def test_comfyui_is_told_that_a_file_is_another_one(node, tmp_path, monkeypatch):
    for folder in ("ipadapter", "clip_vision", "open_clip"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path))
    path = tmp_path / "a.ipadpt.safetensors"
    metadata = {"format": FORMAT, "version": "1"}
    save_file({"embeds": torch.zeros(1, 8)}, path, metadata)
    first = node.fingerprint_inputs(path.name)
    assert node.fingerprint_inputs(path.name) == first
    replace(path, lambda: save_file({"embeds": torch.ones(1, 8)}, path, metadata))
    assert node.fingerprint_inputs(path.name) != first
    assert node.fingerprint_inputs(None) is None  # the name comes from another node


FACEID = {"preset": "FACEID PLUS V2"}
WATCHED = [  # a node, its widgets, and a file that it may choose
    (IPAdapterUnifiedLoader, {"preset": "PLUS (high strength)"}, "ipadapter/any name.safetensors"),
    (IPAdapterUnifiedLoader, {"preset": "PLUS (high strength)"}, "clip_vision/any name.safetensors"),
    (IPAdapterUnifiedLoaderFaceID, FACEID, "loras/ip-adapter-faceid-plusv2_sd15_lora.safetensors"),
    (IPAdapterUnifiedLoaderFaceID, FACEID, "insightface/models/buffalo_l/w600k_r50.onnx"),
    (IPAdapterInsightFaceLoader, {"provider": "CPU", "model_name": "buffalo_l"}, "insightface/models/a/det.onnx"),
]


@pytest.mark.parametrize(("node", "widgets", "file"), WATCHED)
def test_comfyui_is_told_that_a_file_which_a_loader_may_find_came_or_is_another_one(
    node, widgets, file, tmp_path, monkeypatch
):
    for folder in ("ipadapter", "clip_vision", "loras"):
        (tmp_path / folder).mkdir()
        places = ([str(tmp_path / folder)], {".safetensors"})
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, places)
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.delitem(folder_paths.folder_names_and_paths, "insightface", raising=False)
    without = node.fingerprint_inputs(**widgets)
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"one")
    folder_paths.filename_list_cache.clear()
    first = node.fingerprint_inputs(**widgets)
    assert first != without
    assert node.fingerprint_inputs(**widgets) == first
    replace(path, lambda: path.write_bytes(b"two"))
    second = node.fingerprint_inputs(**widgets)
    assert second != first
    path.with_name(f"junk{path.suffix}").mkdir()  # is no file, so nothing that a loader may find
    folder_paths.filename_list_cache.clear()
    assert node.fingerprint_inputs(**widgets) == second


def test_a_preset_that_comes_by_a_link_is_no_reason_to_run_again():
    assert IPAdapterUnifiedLoader.fingerprint_inputs(preset=None) is None

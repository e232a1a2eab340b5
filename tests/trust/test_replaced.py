"""A file that was replaced is noticed, though it has the size and the time of the one before."""

import os

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import folder_paths
from safetensors.torch import save_file

from pack.ipadapter.embeds_file import FORMAT
from pack.nodes.embeds import IPAdapterLoadEmbeds
from pack.nodes.loaders import IPAdapterModelLoader
from pack.nodes.openclip import IPAdapterOpenCLIPLoader


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

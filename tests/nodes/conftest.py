"""Model folders of ComfyUI for tests that choose among files."""

from pathlib import Path

import pytest


class FakeEncoder:
    """Stands for a CLIP_VISION of hundreds of megabytes; only which file was loaded matters here."""

    def __init__(self, path: str) -> None:
        self.path = path


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Empty model folders of ComfyUI's, and a list of the encoders that were loaded from them."""
    import comfy.clip_vision  # late: other tests of this folder run without ComfyUI
    import folder_paths

    paths = {name: tmp_path / name for name in ("ipadapter", "clip_vision", "loras")}
    for name, path in paths.items():
        path.mkdir()
        extensions = {".safetensors", ".bin"}
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(path)], extensions))
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    paths["loaded"] = []
    monkeypatch.setattr(
        comfy.clip_vision, "load", lambda path: paths["loaded"].append(Path(path).name) or FakeEncoder(path)
    )
    return paths


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Empty folders of adapters and encoders, the only models of this ComfyUI."""
    import folder_paths

    for name in ("ipadapter", "clip_vision"):
        (tmp_path / name).mkdir()
        entry = ([str(tmp_path / name)], set(folder_paths.supported_pt_extensions))
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, entry)
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path

"""The set-up script, as far as it can be tried without installing anything."""

import importlib.util
import io
import tarfile
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("atelier", Path(__file__).parents[1] / "atelier.py")
assert spec and spec.loader
atelier = importlib.util.module_from_spec(spec)
spec.loader.exec_module(atelier)


def make_archive(file: Path, **members: str) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(f"package/vendor/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return file


def make_comfyui(folder: Path) -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    return folder


def test_it_unpacks_one_folder_of_an_archive(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", **{"ComfyUI/main.py": "run", "other.txt": "no"})
    atelier.unpack(archive, "package/vendor/ComfyUI/", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").rglob("*")] == ["main.py"]
    assert (tmp_path / "out" / "main.py").read_text() == "run"


def test_a_file_that_would_land_outside_is_refused_and_nothing_is_left(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", **{"ComfyUI/../../../evil.py": "no"})
    with pytest.raises(SystemExit, match="outside its folder"):
        atelier.unpack(archive, "package/vendor/ComfyUI/", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.py")) and not (tmp_path / "deep" / "out").exists()


def test_a_comfyui_that_is_named_goes_before_the_one_around_the_pack(tmp_path, monkeypatch):
    host, named = make_comfyui(tmp_path / "host"), make_comfyui(tmp_path / "named")
    monkeypatch.setattr(atelier, "ROOT", host / "custom_nodes" / "pack")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    assert atelier.find_comfyui(None) == host
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert atelier.find_comfyui(None) == named
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "nothing"))
    with pytest.raises(SystemExit, match="no ComfyUI"):
        atelier.find_comfyui(None)


def test_a_version_that_is_asked_for_goes_before_everything_else(tmp_path, monkeypatch):
    cached = make_comfyui(tmp_path / "pack" / ".cache" / "comfyui-0.16.3")
    monkeypatch.setattr(atelier, "ROOT", tmp_path / "pack")
    monkeypatch.setattr(atelier, "CACHE", tmp_path / "pack" / ".cache")
    monkeypatch.setenv("COMFYUI_PATH", str(make_comfyui(tmp_path / "named")))
    assert atelier.find_comfyui("0.16.3") == cached

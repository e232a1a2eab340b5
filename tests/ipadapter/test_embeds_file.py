"""Embeds in files: what is saved comes back, what earlier packs saved is read, and nothing else is."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pack.ipadapter.embeds_file import load_embeds, save_embeds
from pack.ipadapter.errors import AdapterError


def embeds(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "kept", [embeds(3, 32), embeds(2, 17, 64), embeds(1, 32).half(), embeds(4, 2, 32).permute(1, 0, 2)]
)
def test_saved_embeds_come_back_as_they_were(tmp_path: Path, kept: torch.Tensor):
    path = tmp_path / "kept_00001_.ipadpt.safetensors"
    save_embeds(kept, path)
    loaded = load_embeds(path)
    assert loaded.dtype == kept.dtype and loaded.equal(kept)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "ipadapter-atelier embeds", "version": "1"}


def test_a_file_is_never_overwritten(tmp_path: Path):
    path = tmp_path / "a.ipadpt.safetensors"
    save_embeds(embeds(1, 8), path)
    with pytest.raises(FileExistsError, match="never overwritten"):
        save_embeds(embeds(2, 8), path)
    assert len(load_embeds(path)) == 1


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (embeds(2, 32), embeds(2, 32)),
        (embeds(2, 257, 8), embeds(2, 257, 8)),  # two images of 16 x 16 patches and a class token
        (embeds(2, 3, 32), embeds(2, 3, 32)[0]),  # positive and negative of three images
        (embeds(2, 1, 257, 8), embeds(2, 1, 257, 8)[0]),
    ],
)
def test_files_of_the_old_packs_are_read_by_their_shape(tmp_path: Path, saved: torch.Tensor, expected: torch.Tensor):
    torch.save(saved, tmp_path / "old.ipadpt")
    assert load_embeds(tmp_path / "old.ipadpt").equal(expected)


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def test_a_pickle_with_code_in_it_is_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.ipadpt").write_bytes(pickle.dumps(Evil()))
    torch.save(Evil(), tmp_path / "evil zip.ipadpt")
    for name in ("evil.ipadpt", "evil zip.ipadpt"):
        with pytest.raises(AdapterError, match=f"{name} is no saved tensor"):
            load_embeds(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"embeds": embeds(1, 8)}, "holds a dict"),
        (embeds(8), r"got \(8,\)"),
        (torch.zeros(1, 8, dtype=torch.int64), "int64"),
        (torch.full((1, 8), torch.nan), "not numbers"),
        (torch.zeros(0, 8), r"got \(0, 8\)"),
        (torch.zeros(3, 1, 2, 8), r"got \(3, 1, 2, 8\)"),
    ],
)
def test_what_is_not_embeds_is_named_with_its_file(tmp_path: Path, value: Any, words: str):
    torch.save(value, tmp_path / "odd.ipadpt")
    with pytest.raises(AdapterError, match=f"odd.ipadpt.*{words}"):
        load_embeds(tmp_path / "odd.ipadpt")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "not embeds saved by"),
        ({"format": "ipadapter-atelier embeds", "version": "2"}, "version '2'.*reads up to 1"),
        ({"format": "ipadapter-atelier embeds", "version": "new"}, "version 'new'"),
        ({"format": "ipadapter-atelier embeds"}, "version None"),
    ],
)
def test_foreign_and_newer_files_are_refused(tmp_path: Path, metadata: dict[str, str] | None, words: str):
    path = tmp_path / "other.ipadpt.safetensors"
    save_file({"embeds": embeds(1, 8)}, path, metadata)
    with pytest.raises(AdapterError, match=words.replace(".*", "[\\s\\S]*")):
        load_embeds(path)


def test_a_truncated_file_is_refused(tmp_path: Path):
    path = tmp_path / "cut.ipadpt.safetensors"
    save_embeds(embeds(4, 64), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(AdapterError, match="no whole safetensors file"):
        load_embeds(path)


def test_nonsense_is_not_saved(tmp_path: Path):
    with pytest.raises(AdapterError, match="What is to be saved"):
        save_embeds(torch.zeros(3), tmp_path / "a.ipadpt.safetensors")
    assert not list(tmp_path.iterdir())

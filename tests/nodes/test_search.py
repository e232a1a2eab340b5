"""Every preset against folders with right, wrong, renamed, truncated, duplicate and missing files, and junk beside."""

import os
import shutil
from pathlib import Path

import folder_paths
import pytest
import torch

import synthetic
from pack.ipadapter.errors import CheckpointError
from pack.ipadapter.families import FAMILIES
from pack.ipadapter.peek import peek_adapter
from pack.ipadapter.presets import PRESETS
from pack.ipadapter.sites import UNET
from pack.nodes.loading.adapters import load_adapter
from pack.nodes.loading.search import find_adapter, find_encoder

UNETS = [name for name, family in FAMILIES.items() if family.structure is UNET]
CASES = [(name, family) for name, preset in PRESETS.items() for family in preset.adapters if family in UNETS]
each = pytest.mark.parametrize(("preset", "family"), CASES)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Every published adapter under its name: projections of the published sizes, layers that are one number wide."""
    folder = tmp_path_factory.mktemp("published")
    for name in {PRESETS[preset].adapters[family].name for preset, family in CASES}:
        variant, sizes = synthetic.ZOO[name]
        groups = synthetic.adapter(variant, channels=[1] * 16, dtype=torch.float16, device="meta", **sizes)
        if name.endswith(".bin"):  # one number stands for a whole tensor there
            filled = {g: {key: torch.zeros(1).expand(t.shape) for key, t in part.items()} for g, part in groups.items()}
        else:
            filled = {
                g: {key: torch.zeros_like(t, device="cpu") for key, t in part.items()} for g, part in groups.items()
            }
        synthetic.save(filled, folder / name)
    yield folder
    shutil.rmtree(folder)


def put(source, target):
    """The same content without taking room for it twice."""
    target.parent.mkdir(exist_ok=True)
    os.link(source, target)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("ipadapter", "clip_vision"):
        (tmp_path / name).mkdir()
        entry = ([str(tmp_path / name)], set(folder_paths.supported_pt_extensions))
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, entry)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path / "ipadapter"


def find(preset, family):
    folder_paths.filename_list_cache.clear()
    return find_adapter(preset, PRESETS[preset], FAMILIES[family])


def wanted(preset, family):
    return PRESETS[preset].adapters[family].name


@each
def test_the_right_file_is_found_among_all_of_them_and_all_sorts_of_junk(published, folder, preset, family):
    for path in published.iterdir():
        put(path, folder / path.name)
    put_junk(folder)
    assert find(preset, family) == folder / wanted(preset, family)


@each
def test_a_missing_file_is_named_with_its_source_and_what_was_found_instead(published, folder, preset, family):
    right = wanted(preset, family)
    other = next(path for path in sorted(published.iterdir()) if not same(path, published / right))
    put(other, folder / f"something{other.suffix}")
    with pytest.raises(FileNotFoundError) as error:
        find(preset, family)
    source = PRESETS[preset].adapters[family].source
    assert f"expected {right} in {folder}. Get it from {source}. Found there: some" in str(error.value)


def same(one, other):
    """Whether two files are told to be the same without their names: plus face and composition are plus adapters."""
    a, b = peek_adapter(one), peek_adapter(other)
    return a is not None and b is not None and a.projection == b.projection and a.context_dim == b.context_dim


@each
def test_a_renamed_file_is_found_where_tensors_tell_and_named_where_they_cannot(published, folder, preset, family):
    right = published / wanted(preset, family)
    renamed = folder / f"mine{right.suffix}"
    put(right, renamed)
    told = peek_adapter(renamed)
    assert told is not None
    if told.variant == PRESETS[preset].adapters[family].variant:
        assert find(preset, family) == renamed
    else:
        with pytest.raises(FileNotFoundError, match=rf"Found there: {renamed.name} \({told.variant} for"):
            find(preset, family)


@each
def test_a_truncated_file_is_called_damaged_and_passed_over_for_a_whole_one(published, folder, preset, family):
    right = published / wanted(preset, family)
    with right.open("rb") as whole:
        (folder / right.name).write_bytes(whole.read(3000))
    with pytest.raises(CheckpointError, match=f"{right.name} cannot be read: it is damaged"):
        load_adapter(find(preset, family))
    put(right, folder / "again" / right.name)
    assert find(preset, family) == folder / "again" / right.name


@each
def test_of_two_that_are_the_same_one_is_used(published, folder, preset, family):
    right = published / wanted(preset, family)
    put(right, folder / right.name)
    put(right, folder / "again" / right.name)
    assert find(preset, family) in (folder / right.name, folder / "again" / right.name)


JUNK = {
    "ip-adapter_sd15.bin": b"\0", "ip-adapter-plus_sd15.bin": b"text", "a.sft": b"", "b.SAFETENSORS": b"\x08",
    "c.pt": b"PK\x03\x04", "d.bin": b"\x80\x02}q\x00.", "e.pkl": b"cos\nsystem\n", "f.ckpt": b"\x80\x04\x95",
}  # fmt: skip


def put_junk(folder):
    for name, content in JUNK.items():
        (folder / name).write_bytes(content)
    (folder / "folder.safetensors").mkdir()
    (folder / "._ip-adapter_sd15.safetensors").write_bytes(b"of macOS")
    if os.name != "nt":
        (folder / "nowhere.safetensors").symlink_to(folder / "gone")
        os.mkfifo(folder / "pipe.bin")


def test_junk_alone_is_listed_and_never_waited_for(folder):
    put_junk(folder)
    put_junk(folder.parent / "clip_vision")
    with pytest.raises(FileNotFoundError, match=r"a.sft \(not understood\)"):
        find("FULL FACE - SD1.5 only (portraits stronger)", "sd15")
    config = synthetic_config()
    with pytest.raises(FileNotFoundError, match=r"expected CLIP-ViT-H-14.*h94/IP-Adapter.*b.SAFETENSORS \(not unders"):
        find_encoder(config, "an adapter")


def synthetic_config():
    from pack.ipadapter.checkpoint import read_checkpoint

    state = synthetic.adapter("plus", channels=synthetic.sd15_channels(16), dim=64, heads=1, depth=1)
    return read_checkpoint(state, "plus").config


def test_files_in_capitals_are_read_as_what_they_are(published, folder):
    put(published / "ip-adapter_sd15.safetensors", folder / "IP-ADAPTER_SD15.SAFETENSORS")
    assert find("STANDARD (medium strength)", "sd15") == folder / "IP-ADAPTER_SD15.SAFETENSORS"
    assert Path(folder_paths.get_full_path_or_raise("ipadapter", "IP-ADAPTER_SD15.SAFETENSORS")).is_file()

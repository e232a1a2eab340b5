"""Every preset against folders with right, wrong, renamed, truncated, duplicate and missing files, and junk beside.

The tests of all presets are loops: each lists the presets that fail.
"""

import os
import shutil
from pathlib import Path

import pytest
import torch

import published_headers as headers
import synthetic
from identity import pulid_files
from pack.doctor.survey import survey
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.errors import CheckpointError, FileNameError
from pack.ipadapter.families import FAMILIES
from pack.ipadapter.peek import peek_adapter
from pack.ipadapter.presets import PRESETS
from pack.ipadapter.sites import UNET
from pack.nodes.loading.adapters import load_adapter
from pack.nodes.loading.files import adapter_files, adapter_path
from pack.nodes.loading.places import model_places
from pack.nodes.loading.search import find_adapter, find_encoder, folders

UNETS = [name for name, family in FAMILIES.items() if family.structure is UNET]
CASES = [(name, family) for name, preset in PRESETS.items() for family in preset.adapters if family in UNETS]
STANDARD, VIT_G_PRESET, ANIME = "STANDARD (medium strength)", "VIT-G (medium strength)", "ANIME (Illustrious, NoobAI)"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Every published adapter under its name: projections of published sizes, layers that are one number wide."""
    folder = tmp_path_factory.mktemp("published")
    for name, (variant, sizes) in synthetic.ZOO.items():
        groups = synthetic.adapter(
            variant, channels=[1] * 16, dtype=synthetic.published_dtype(name), device="meta", **sizes
        )
        if name.endswith(".bin"):  # nested; one number stands for a whole tensor there
            torch.save({group: headers.filled(part) for group, part in groups.items()}, folder / name)
        else:
            headers.save(synthetic.flat(groups), folder / name)
    for name in (name for name, (_, family, *_) in pulid_files.NAMES.items() if family == "sdxl"):
        tensors = pulid_files.pulid(name, device="meta", published=True, channels=[1] * 16)
        (headers.save if name.endswith(".safetensors") else save_filled)(tensors, folder / name)
    yield folder
    shutil.rmtree(folder)


def save_filled(tensors, path):
    torch.save(headers.filled(tensors), path)


def put(source, target):
    """The same content without taking the space for it twice."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


@pytest.fixture
def folder(models):
    return models / "ipadapter"


def find(preset, family):
    return find_adapter(preset, PRESETS[preset], FAMILIES[family])


def wanted(preset, family):
    return PRESETS[preset].adapters[family].name


def refused(find_it) -> str:
    with pytest.raises(FileNotFoundError) as error:
        find_it()
    return str(error.value)


def test_the_right_file_is_found_among_all_of_them_and_all_sorts_of_junk(published, folder):
    for path in published.iterdir():
        put(path, folder / path.name)
    put_junk(folder)
    found = {(preset, family): find(preset, family) for preset, family in CASES}
    wrong = {case: path.name for case, path in found.items() if path != folder / wanted(*case)}
    assert wrong == {} and len(found) == len(CASES) > 20


def test_a_missing_file_is_named_with_its_source_and_with_the_files_that_are_there(published, folder):
    for preset, family in CASES:
        right = wanted(preset, family)
        other = next(path for path in sorted(published.iterdir()) if not same(path, published / right))
        put(other, folder / f"something{other.suffix}")
        message = refused(lambda preset=preset, family=family: find(preset, family))
        source = PRESETS[preset].adapters[family].source
        assert f"expected {right} in {folder}. Get it from {source}. Found there: some" in message
        (folder / f"something{other.suffix}").unlink()


def same(one, other):
    """Whether two files are the same but for their names, as plus face and plus adapters are."""
    a, b = peek_adapter(one), peek_adapter(other)
    return a is not None and b is not None and a.projection == b.projection and a.context_dim == b.context_dim


def test_a_renamed_file_is_found_where_tensors_tell_and_named_where_they_cannot(published, folder):
    for preset, family in CASES:
        right = PRESETS[preset].adapters[family]
        renamed = folder / f"mine{Path(right.name).suffix}"
        put(published / right.name, renamed)
        assert (told := peek_adapter(renamed)) is not None
        if told.variant == right.variant and not right.only_by_name:
            assert find(preset, family) == renamed, preset
        else:
            message = refused(lambda preset=preset, family=family: find(preset, family))
            assert f"Found there: {renamed.name} ({told.variant} for" in message
        renamed.unlink()


def test_a_truncated_file_is_called_damaged_and_passed_over_for_a_whole_one(published, folder):
    for preset, family in CASES:
        right = published / wanted(preset, family)
        with right.open("rb") as whole:
            (folder / right.name).write_bytes(whole.read(3000))
        with pytest.raises(CheckpointError, match=f"{right.name} cannot be read: it is damaged"):
            load_adapter(find(preset, family))
        put(right, folder / "again" / right.name)
        assert find(preset, family) == folder / "again" / right.name, preset
        shutil.rmtree(folder / "again")
        (folder / right.name).unlink()


def test_an_older_pulid_serves_where_the_newer_is_missing_and_is_passed_over_where_it_is_there(published, folder):
    names = ("ip-adapter_pulid_sdxl_fp16.safetensors", "pulid_v1.bin", "pulid_v1.1.safetensors")
    for name in names:  # each is preferred to those before it
        put(published / name, folder.parent / "pulid" / name)
        assert find("PULID", "sdxl").name == name
    assert "nor pulid_flux_v0.9.0.safetensors: expected pulid_flux_v" in refused(lambda: find("PULID FLUX", "flux"))


def test_of_two_files_that_are_the_same_the_first_is_used(published, folder):
    put(published / "ip-adapter_sd15.safetensors", folder / "ip-adapter_sd15.safetensors")
    put(published / "ip-adapter_sd15.safetensors", folder / "again" / "ip-adapter_sd15.safetensors")
    assert find(STANDARD, "sd15") == folder / "ip-adapter_sd15.safetensors"


def test_one_file_that_has_several_names_is_no_choice_among_several(published, models, monkeypatch):
    """By a link, model paths within each other, and another pack's folder that is registered for adapters too."""
    import folder_paths

    name, suffixes = "ip-adapter-plus_sd15.safetensors", set(folder_paths.supported_pt_extensions)
    for place, names in {"ipadapter/sub": 3, "instantid": 2}.items():
        put(published / name, models / place / "mine.safetensors")
        if place == "ipadapter/sub" and os.name != "nt":
            (models / place / "again.safetensors").symlink_to(models / place / "mine.safetensors")
        paths = [str(models / "ipadapter"), str(models / place)]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", (paths, suffixes))
        assert len(adapter_files()) >= names
        assert find("PLUS (high strength)", "sd15").samefile(models / place / "mine.safetensors"), place
        shutil.rmtree(models / place)


def test_an_anime_adapter_is_never_taken_for_that_of_the_base_model_with_its_tensors_nor_the_reverse(published, folder):
    anime, base = "noobIPAMARK1_mark1.safetensors", "ip-adapter_sdxl.safetensors"
    for there, missing in ((anime, (VIT_G_PRESET, base)), (base, (ANIME, anime))):
        put(published / there, folder / there)
        message = refused(lambda missing=missing: find(missing[0], "sdxl"))
        assert f"expected {missing[1]}" in message and f"{there} (SDXL for sdxl)" in message
        (folder / there).unlink()


def test_a_whole_file_that_is_another_adapter_than_its_name_says_is_not_loaded(published, folder):
    put(published / "ip-adapter_sdxl.safetensors", folder / "ip-adapter_sd15.safetensors")
    assert "ip-adapter_sd15.safetensors (SDXL for sdxl)" in refused(lambda: find(STANDARD, "sd15"))


OTHERS = {  # where other packs and ComfyUI-Manager put files, and the names that loaders list them by
    "instantid/SDXL/ip-adapter.bin": "ip-adapter-faceid-portrait_sdxl_unnorm.bin",
    "ipadapter-flux/plus.safetensors": "ip-adapter-plus_sd15.safetensors",
    "xlabs/ipadapters/ip_adapter.safetensors": "ip-adapter_sd15.safetensors",
    "pulid/x.safetensors": "ip-adapter_sd15_vit-G.safetensors",
    "controlnet/ip-adapter-plus-face_sdxl_vit-h.safetensors": "ip-adapter-plus-face_sdxl_vit-h.safetensors",
}


def test_folders_of_other_packs_are_searched_and_their_files_used_where_they_lie(published, models):
    for place, name in OTHERS.items():
        put(published / name, models / place)
    (models / "controlnet" / "control_v11p.safetensors").write_bytes(b"of no interest")
    listed = adapter_files()
    assert [name for name in OTHERS if str(Path(name)) not in listed] == [] and len(listed) == len(OTHERS)
    assert {name: adapter_path(name) for name in OTHERS} == {name: models / name for name in OTHERS}
    assert find("PLUS FACE (portraits)", "sdxl").parent == models / "controlnet"
    assert load_adapter(adapter_path("instantid/SDXL/ip-adapter.bin")).config.variant == "InstantID"


def test_a_file_of_the_pack_s_own_folder_comes_before_one_of_the_same_listed_name(published, models):
    put(published / "ip-adapter_sd15.safetensors", models / "instantid" / "a.safetensors")
    put(published / "ip-adapter-plus_sd15.safetensors", models / "ipadapter" / "instantid" / "a.safetensors")
    assert adapter_path("instantid/a.safetensors") == models / "ipadapter" / "instantid" / "a.safetensors"


def test_names_from_windows_are_understood_and_names_that_lead_out_refused(published, models):
    put(published / "ip-adapter_sd15.safetensors", models / "ipadapter" / "sd15" / "a.safetensors")
    assert adapter_path("sd15\\a.safetensors") == models / "ipadapter" / "sd15" / "a.safetensors"
    with pytest.raises(FileNameError, match="leads out"):
        adapter_path("..\\clip_vision\\a.safetensors")
    with pytest.raises(FileNotFoundError, match="No adapter 'sd15/b.safetensors' in .*. Put the file there"):
        adapter_path("sd15/b.safetensors")


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


def test_junk_alone_is_listed_and_never_waited_for(models):
    put_junk(models / "ipadapter")
    put_junk(models / "clip_vision")
    assert sorted(adapter_files()) == sorted(JUNK)  # no folder, no pipe, no broken link, none of macOS's own files
    with pytest.raises(FileNotFoundError, match=r"Found there: .*b.SAFETENSORS \(not understood\)"):
        find("PLUS (high strength)", "sdxl")
    plus = read_checkpoint(synthetic.adapter("plus", channels=[1] * 16, device="meta"), "an adapter").config
    with pytest.raises(FileNotFoundError, match=r"Found there: .*b.SAFETENSORS \(not understood\)"):
        find_encoder(plus, "an adapter")


def test_files_in_capitals_are_read_as_what_they_are(published, folder):
    put(published / "ip-adapter_sd15.safetensors", folder / "IP-ADAPTER_SD15.SAFETENSORS")
    assert find(STANDARD, "sd15") == folder / "IP-ADAPTER_SD15.SAFETENSORS"


def test_the_doctor_lists_the_files_that_the_loaders_list(published, models):
    for name in ("a.pt2", ".cache/b.safetensors", "c.pkl", "deep/d.safetensors"):
        like = "ip-adapter_sd15.safetensors" if name.endswith("s") else "ip-adapter-faceid_sd15.bin"
        put(published / like, models / "ipadapter" / name)
        put(published / like, models / "instantid" / name)
    files = {file.path for file in survey(model_places())}
    seen = set(folders("ipadapter")["ipadapter"].files.values())
    assert len(seen) == 8 and seen == files

"""What the doctor says of model folders: files by their headers, presets as the loaders see them."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import published_headers as headers
import synthetic
from model_doctor.shelves import VIT_G, VIT_H, VIT_L, verdict_of, write_adapter, write_encoder
from pack.doctor import packages as module
from pack.doctor.report import as_json, as_text
from pack.doctor.sheet import BAD, GOOD, MARKS, draw_report, outcome
from pack.doctor.survey import BROKEN, DOUBTFUL, FINE, survey
from pack.ipadapter.catalog import ANIME
from pack.ipadapter.checkpoint import read_file
from pack.ipadapter.errors import CheckpointError, FaceError
from pack.ipadapter.other_files import other_content
from pack.ipadapter.presets import PRESETS

PLUS, STANDARD, FACEID = "PLUS (high strength)", "STANDARD (medium strength)", "FACEID"
FOLDERS = ("ipadapter", "clip_vision", "loras", "checkpoints")


def files_of(places):
    return {file.name: file for file in survey(places)}


def test_empty_folders_name_every_file_that_every_preset_misses(look):
    report = look()
    assert report.running == 0 and report.files == []
    for one in report.verdicts:
        assert one.missing[0] == PRESETS[one.preset].adapters[one.family]
        first = one.missing[0]
        assert f"misses {first.name} in {first.folder}, from {first.source}" in as_text(report)
    assert [file.name for file in verdict_of(report, "FACEID KOLORS", "kolors").missing] == [
        "Kolors-IP-Adapter-FaceID-Plus.bin", "clip-vit-large-patch14-336.bin", "antelopev2",
    ]  # fmt: skip


def test_a_preset_runs_when_its_files_are_there_whatever_they_are_called(places, look):
    write_adapter(places["ipadapter"][0] / "deep" / "mine.safetensors", "ip-adapter-plus_sd15.safetensors")
    assert [file.name for file in verdict_of(look(), PLUS).missing] == ["CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"]
    assert outcome(verdict_of(look(), PLUS)) == (BAD, "no encoder")
    write_encoder(places["clip_vision"][0] / "model.safetensors", VIT_H)
    found = verdict_of(look(), PLUS)
    assert found.runs and [path.name for path in found.files] == ["mine.safetensors", "model.safetensors"]
    assert outcome(found) == (GOOD, "runs")


def test_an_adapter_is_told_what_it_works_with_and_what_it_misses(places, look):
    write_adapter(places["ipadapter"][0] / "ip-adapter_sdxl.safetensors")
    write_adapter(places["ipadapter"][0] / "ip-adapter_sd15.safetensors")
    write_encoder(places["clip_vision"][0] / "h.safetensors", VIT_H)
    told = {file["name"]: file for file in json.loads(as_json(look()))["files"]}
    assert told["ip-adapter_sd15.safetensors"]["works_with"] == ["h.safetensors"]
    assert told["ip-adapter_sdxl.safetensors"]["misses"] == ["CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors"]
    write_encoder(places["clip_vision"][0] / "g.safetensors", VIT_G)
    told = {file["name"]: file for file in json.loads(as_json(look()))["files"]}
    assert told["ip-adapter_sdxl.safetensors"]["works_with"] == ["g.safetensors"]


def test_every_sort_of_broken_file_is_named(places):
    folder = places["ipadapter"][0]
    whole = write_adapter(folder / "ip-adapter_sd15.safetensors").read_bytes()
    for name, content in {"cut": whole[:2000], "empty": b"", "page": b"<html>"}.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    save_file({"a": torch.ones(2)}, folder / "other.safetensors")
    torch.save({"image_proj": print}, folder / "function.bin")
    with zipfile.ZipFile(folder / "ViT-L-14.pt", "w") as archive:
        archive.writestr("ViT-L-14/constants.pkl", b"")
    if os.name != "nt":
        (folder / "nowhere.bin").symlink_to(folder / "gone")
        os.mkfifo(folder / "pipe.bin")
    found = files_of(places)
    assert found["ip-adapter_sd15.safetensors"].state == FINE
    assert {name: found[f"{name}.safetensors"].state for name in ("cut", "empty", "page")} == dict.fromkeys(
        ("cut", "empty", "page"), BROKEN
    )
    assert found["other.safetensors"].note == "no adapter that this pack knows"
    assert "a pickle that holds more than tensors" in found["function.bin"].note
    assert found["ViT-L-14.pt"].state == DOUBTFUL and "runs programs from model files" in found["ViT-L-14.pt"].note
    if os.name != "nt":
        assert "there is no such file" in found["nowhere.bin"].note and "a pipe" in found["pipe.bin"].note


def test_a_file_whose_content_is_not_that_of_its_suffix_is_told_with_what_to_do(places, look):
    """By the doctor and, in the same words, by what reads adapters."""
    folder, name = places["ipadapter"][0], "ip-adapter_sd15"
    pickled = write_adapter(folder / "a.bin", f"{name}.safetensors").rename(folder / f"{name}.safetensors")
    old = folder / "old.safetensors"
    torch.save({"a": torch.ones(2)}, old, _use_new_zipfile_serialization=False)
    safe = write_adapter(folder / "b.safetensors", "ip-adapter_sdxl.safetensors").rename(folder / "b.bin")
    page, pointer, packed = (folder / each for each in ("page.bin", "pointer.safetensors", "packed.safetensors"))
    page.write_bytes(b"\n<!DOCTYPE html><html>")
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ba10\nsize 702585376\n")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model.safetensors", b"")
    expected = {
        pickled: f"it is a PyTorch file by its content: rename it to {name}.bin",
        old: "it is a PyTorch file by its content: rename it to old.bin",
        safe: "it is a .safetensors file by its content: rename it to b.safetensors",
        page: "it is a web page", pointer: "it is git-lfs' pointer to the file", packed: "it is a zip: unpack it",
    }  # fmt: skip
    found = files_of(places)
    for path, said in expected.items():
        assert found[path.name].state == BROKEN and found[path.name].note.startswith(said), path
        with pytest.raises(CheckpointError, match=f"{path.name} cannot be read: {said}"):
            read_file(path)
    assert other_content(folder).startswith("it cannot be opened (")  # as of a file that its reader has no right to
    assert verdict_of(look(), STANDARD).why == f"{pickled.name} cannot be read: {expected[pickled]}."


def test_downloads_that_have_not_ended_and_packed_files_are_told(places, tmp_path):
    unfinished = ("a.safetensors.part", "b.bin.crdownload", "c.safetensors.aria2")
    for name in (*unfinished, "d.zip", "e.GGUF"):
        (places["ipadapter"][0] / name).write_bytes(b"")
    places["instantid"] = [tmp_path / "instantid"]
    (tmp_path / "instantid").mkdir()
    (tmp_path / "instantid" / "half.safetensors").write_bytes(b"half")
    torch.save({"a": print}, tmp_path / "instantid" / "another pack's.bin")
    notes = {name: file.note for name, file in files_of(places).items()}
    assert all("a download that has not ended" in notes.pop(name) for name in unfinished)
    assert notes.pop("d.zip") == "packed: unpack it" and "reads GGUF" in notes.pop("e.GGUF")
    assert notes.pop("half.safetensors").startswith("damaged: a download that stopped") and not notes


def test_a_folder_that_is_not_searched_because_of_its_spelling_is_told(places, tmp_path):
    for name in ("ip-adapter", "IPAdapters", "clip-vision", "ip_adapter"):
        write_adapter(tmp_path / name / "a.safetensors", "ip-adapter_sd15.safetensors")
    places["ipadapter"] = [*places["ipadapter"], tmp_path / "ip_adapter"]  # named in extra_model_paths.yaml
    (tmp_path / "ipadapter_").mkdir()  # without a model file
    told = {file.name: file.note for file in survey(places) if file.state == DOUBTFUL}
    assert list(told) == ["IPAdapters", "ip-adapter", "clip-vision"]
    line = f"add the line 'ipadapter: {(tmp_path / 'ip-adapter').as_posix()}' to extra_model_paths.yaml"
    assert told["ip-adapter"] == f"the loaders do not search this folder: call it ipadapter, or {line}"


def test_files_in_the_wrong_folder_and_the_same_file_twice_are_told(places):
    right = write_adapter(places["ipadapter"][0] / "ip-adapter_sd15.safetensors")
    shutil.copy(right, places["ipadapter"][0] / "z copy.safetensors")
    os.link(right, places["ipadapter"][0] / "hard link.safetensors")
    write_adapter(places["checkpoints"][0] / "a.safetensors", "ip-adapter-plus_sd15.safetensors")
    write_encoder(places["ipadapter"][0] / "encoder.safetensors", VIT_H)
    found = files_of(places)
    assert found["ip-adapter_sd15.safetensors"].state == found["hard link.safetensors"].state == FINE
    first = places["ipadapter"][0] / "hard link.safetensors"
    assert found["z copy.safetensors"].note == f"the same as {first}: one of them is enough"
    assert found["a.safetensors"].note == "in the wrong folder: move it to models/ipadapter"
    assert found["encoder.safetensors"].note == "in the wrong folder: move it to models/clip_vision"


def test_a_file_in_another_pack_s_folder_is_used_there_or_gets_a_line_for_the_model_paths(places, look, tmp_path):
    for name in ("instantid", "pulid", "clip_vision_sam", "controlnet"):
        (tmp_path / name).mkdir()
        places[name] = [tmp_path / name]
    write_adapter(tmp_path / "instantid" / "SDXL" / "ip-adapter.bin", "ip-adapter-faceid-portrait_sdxl_unnorm.bin")
    write_adapter(tmp_path / "clip_vision_sam" / "a.safetensors", "ip-adapter-plus_sd15.safetensors")
    headers.save(headers.pulid_former(flux=True), tmp_path / "pulid" / "pulid_flux_v0.9.1.safetensors")
    headers.save({"control_model.input_blocks.0.0.weight": headers.meta(1)}, tmp_path / "controlnet" / "a.safetensors")
    found = files_of(places)
    assert sorted(found) == ["SDXL/ip-adapter.bin", "a.safetensors", "pulid_flux_v0.9.1.safetensors"]
    assert (found["SDXL/ip-adapter.bin"].state, found["SDXL/ip-adapter.bin"].config.variant) == (FINE, "InstantID")
    assert f"add the line 'ipadapter: {tmp_path / 'clip_vision_sam'}' to extra_model" in found["a.safetensors"].note
    assert found["pulid_flux_v0.9.1.safetensors"].state == FINE
    assert "pulid_flux_v0.9.1.safetensors: PuLID for Flux, for a PuLID Flux loader" in as_text(look())


def test_encoders_that_adapters_do_not_take_are_named_and_are_no_alarm(places):
    folder = places["clip_vision"][0]
    expected = {
        "llava": ("multi_modal_projector.linear_1.bias", "llava's vision encoder"),
        "timm": ("visual.trunk.blocks.0.attn.qkv.weight", "a vision encoder of OpenCLIP with timm's names"),
        "timm alone": ("patch_embed.proj.weight", "a vision encoder with timm's own names"),
        "dino": ("encoder.layer.23.layer_scale2.lambda1", "a DINO encoder"),
        "plain": ("vision_model.embeddings.class_embedding", "a CLIP vision encoder without the projection"),
    }
    for name, (key, _) in expected.items():
        headers.save({key: headers.meta(8)}, folder / f"{name}.safetensors")
    headers.save(headers.siglip(), folder / "siglip.safetensors")
    headers.save({"lora_unet_a.lora_down.weight": headers.meta(4, 4)}, folder / "lora.safetensors")
    found = files_of(places)
    for name, (_, title) in expected.items():
        assert found[f"{name}.safetensors"].state == FINE and found[f"{name}.safetensors"].title.startswith(title), name
    assert found["siglip.safetensors"].kind == "encoder" and "SigLIP so400m" in found["siglip.safetensors"].title
    assert found["lora.safetensors"].state == DOUBTFUL and found["lora.safetensors"].title == "a LoRA, for Load LoRA"


def test_an_encoder_of_another_number_of_tokens_is_no_partner(places, look):
    write_adapter(places["ipadapter"][0] / "Kolors-IP-Adapter-Plus.bin", dim=2048)
    write_encoder(places["clip_vision"][0] / "clip-vit-large-patch14-336.safetensors", VIT_L)
    told = {file["name"]: file for file in json.loads(as_json(look()))["files"]}
    assert told["Kolors-IP-Adapter-Plus.bin"]["misses"] == ["clip-vit-large-patch14-336.bin"]
    assert told["clip-vit-large-patch14-336.safetensors"]["what"] == "CLIP ViT-L/14"
    assert "has 257 tokens a picture" in verdict_of(look(), "Kolors", "kolors").why


def test_an_encoder_that_presets_do_not_find_is_no_partner(places, look, tmp_path):
    """In another folder, or with the name of another encoder of the same sizes."""
    write_adapter(places["ipadapter"][0] / "ip-adapter-plus_sd15.safetensors")
    places["open_clip"] = [tmp_path / "open_clip"]
    write_encoder(tmp_path / "open_clip" / "h.safetensors", VIT_H)
    write_encoder(places["clip_vision"][0] / "DFN5B-CLIP-ViT-H-14.safetensors", VIT_H)
    told = {file["name"]: file for file in json.loads(as_json(look()))["files"]}
    assert told["ip-adapter-plus_sd15.safetensors"]["works_with"] == []
    assert told["DFN5B-CLIP-ViT-H-14.safetensors"]["what"].startswith("vision encoder, pooled 1024 and hidden 1280")
    found = verdict_of(look(), PLUS)
    assert not found.runs and [file.name for file in found.missing] == ["CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"]


def test_an_adapter_that_cannot_be_used_says_so_in_the_loader_s_words(places):
    flat = synthetic.flat(synthetic.adapter("standard", channels=synthetic.sd15_channels(8)))
    save_file({key: tensor.to(torch.int8) for key, tensor in flat.items()}, places["ipadapter"][0] / "a.safetensors")
    found = files_of(places)["a.safetensors"]
    assert found.state == BROKEN and "does not hold floating point numbers" in found.note


def test_checkpoints_of_anime_families_name_the_preset_that_is_made_for_them(places, look):
    sdxl, other = "model.diffusion_model.label_emb.0.0.weight", "model.diffusion_model.time_embed.0.weight"
    for name, key in (("noobaiXL.safetensors", sdxl), ("noob_sd15.safetensors", other), ("base.safetensors", sdxl)):
        headers.save({key: headers.meta(4, 4)}, places["checkpoints"][0] / name)
    found = files_of(places)
    assert list(found) == ["noobaiXL.safetensors"] and found["noobaiXL.safetensors"].state == FINE
    assert "noobaiXL.safetensors: seems to be a NoobAI model" in as_text(look()) and ANIME in as_text(look())


def test_files_of_one_size_with_other_content_are_no_duplicates(places):
    for seed, name in enumerate(("a.safetensors", "b.safetensors")):
        write_adapter(places["ipadapter"][0] / name, "ip-adapter_sd15.safetensors", seed=seed)
    assert {file.state for file in survey(places)} == {FINE}


@pytest.mark.skipif(os.name == "nt", reason="links need a right that Windows rarely gives")
def test_links_are_followed_once_even_where_they_lead_back(places, tmp_path):
    write_adapter(tmp_path / "elsewhere" / "ip-adapter_sd15.safetensors")
    (places["ipadapter"][0] / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(places["ipadapter"][0])
    assert [file.name for file in survey(places)] == ["linked/ip-adapter_sd15.safetensors"]


def test_an_adapter_for_an_encoder_that_nobody_published_misses_an_encoder(places, look):
    write_adapter(places["ipadapter"][0] / "ip-adapter-plus_sd15.safetensors", hidden=96)
    report = look()
    assert outcome(verdict_of(report, PLUS)) == (BAD, "no encoder") and draw_report(report)
    assert "misses an encoder with hidden embeds 96 wide" in as_text(report)


def test_several_candidates_are_named(places, look):
    for seed, name in enumerate(("one.safetensors", "two.safetensors")):
        write_adapter(places["ipadapter"][0] / name, "ip-adapter_sd15.safetensors", seed=seed)
    assert "several could be it: one.safetensors, two.safetensors" in as_text(look())
    assert outcome(verdict_of(look(), STANDARD)) == (BAD, "several files")


def test_a_damaged_file_under_the_right_name_is_what_keeps_a_preset_from_running(places, look):
    (places["ipadapter"][0] / "ip-adapter_sd15.safetensors").write_bytes(b"half")
    found = verdict_of(look(), STANDARD)
    assert "ip-adapter_sd15.safetensors is damaged" in found.why and found.missing[0].name in found.why


def test_a_package_that_does_not_import_says_why(monkeypatch, look):
    def broken(name):
        raise FaceError(f"{name} is installed but fails to import: numpy changed")

    monkeypatch.setattr(module, "import_face_module", broken)
    assert " - insightface: insightface.app is installed but fails to import: numpy changed" in as_text(look())


def test_the_picture_is_one_screen_and_draws_what_the_report_says(places, look):
    empty = draw_report(look())
    for name in ("ip-adapter_sd15.safetensors", "ip-adapter-plus_sd15.safetensors"):
        write_adapter(places["ipadapter"][0] / name)
    write_encoder(places["clip_vision"][0] / "h.safetensors", VIT_H)
    some = draw_report(look())
    assert all(isinstance(picture, Image.Image) and picture.size[1] < 1100 for picture in (empty, some))
    green = [(np.asarray(picture) == GOOD).all(-1).sum() for picture in (empty, some)]
    assert green[1] > green[0] > 0 and len(set(MARKS.values())) == len(MARKS)


def test_hundreds_of_files_stay_on_one_screen_and_problems_come_first(places, look):
    for number in range(150):
        (places["ipadapter"][0] / f"{number}.bin").write_bytes(b"")
    write_adapter(places["ipadapter"][0] / "a.safetensors", "ip-adapter_sd15.safetensors")
    picture = draw_report(look())
    assert picture.size[1] < 1100 and "151 to look at" not in look().summary and "150 to look at" in look().summary

"""What the doctor says of presets with several parts: LoRAs, face packs, PuLID's encoder, InstantID's net."""

import json

import pytest
import torch

import published_headers as headers
import synthetic
from identity import pulid_files
from model_doctor.shelves import verdict_of, write_adapter, write_face_pack, write_network
from pack.doctor.report import as_json, as_text
from pack.doctor.sheet import BAD, DOUBT, GOOD, draw_report, outcome
from pack.doctor.survey import DOUBTFUL, FINE
from pack.encoders.face_models import find_pack

FACEID = "FACEID"


def test_half_a_lora_leaves_a_face_preset_running_with_a_note(places, look, tmp_path):
    nested = synthetic.adapter("FaceID", channels=synthetic.sd15_channels(32), face_hidden=16, rank=4)
    layers = {key: tensor for key, tensor in nested["ip_adapter"].items() if "3.to_q_lora.up" not in key}
    path = places["ipadapter"][0] / "ip-adapter-faceid_sd15.bin"
    synthetic.save(nested | {"ip_adapter": layers}, path)
    assert [file.name for file in verdict_of(look(), FACEID).missing] == ["buffalo_l"]
    write_face_pack(tmp_path / "insightface" / "models" / "buffalo_l")
    report = look()
    found = verdict_of(report, FACEID)
    assert found.runs and "expected ip-adapter-faceid_sd15_lora.safetensors" in found.note
    assert outcome(found) == (DOUBT, "no LoRA")
    assert report.files[0].state == DOUBTFUL and "attention 3.to_q is not complete" in report.files[0].note


def test_half_a_face_pack_keeps_face_presets_from_running_and_says_what_it_lacks(places, look, tmp_path):
    write_adapter(places["ipadapter"][0] / "ip-adapter-faceid_sd15.bin")
    pack = tmp_path / "insightface" / "models" / "buffalo_l"
    write_network(pack / "det_10g.onnx", "detection")
    report = look()
    found = verdict_of(report, FACEID)
    assert [file.name for file in found.missing] == ["buffalo_l"] and outcome(found) == (BAD, "no face pack")
    assert f"The face pack {pack} has no recogniser; its files: det_10g.onnx. Put all files" in found.why
    assert [(file.name, file.state, file.note) for file in report.packs] == [("buffalo_l", DOUBTFUL, found.why)]
    assert f"FACEID, SD1.5: {found.why}" in as_text(report) and f"! face pack buffalo_l: {found.why}" in as_text(report)
    told = {file["name"]: file for file in json.loads(as_json(report))["files"]}
    assert told["ip-adapter-faceid_sd15.bin"]["misses"] == ["face pack buffalo_l"]
    write_adapter(places["ipadapter"][0] / "ip-adapter-faceid-plusv2_sd15.bin")
    line = next(line for line in as_text(look()).splitlines() if "FACEID PLUS V2, SD1.5" in line)
    assert "No vision encoder" in line and "has no recogniser" in line, "beside a missing file, one that is of no use"
    write_network(pack / "swapper.onnx", "swapper")
    assert "no recogniser" in verdict_of(look(), FACEID).why, "a face swapper is no recogniser"
    write_network(pack / "w600k_r50.onnx", "recognition")
    assert verdict_of(look(), FACEID).runs and look().packs[0].state == FINE


def test_packs_left_packed_too_deep_or_outside_their_folder_are_named_as_the_loader_does(look, tmp_path):
    root = tmp_path / "insightface"
    write_face_pack(root / "models" / "antelopev2" / "antelopev2")
    (root / "models" / "antelopev2.zip").touch()  # the pack is there: its zip is no problem
    write_network(root / "inswapper_128.onnx", "swapper")  # of another pack, which keeps it there
    assert [(pack.name, pack.state, pack.title) for pack in look().packs] == [
        ("antelopev2", FINE, "3 networks: 2d106det, det_10g, w600k_r50")
    ]
    (root / "buffalo_l.zip").touch()
    loose = [write_network(root / place / "glintr100.onnx", "recognition") for place in ("", "models", "buffalo_l")]
    report = look()
    notes = {pack.path: pack.note for pack in report.packs if pack.state == DOUBTFUL}
    assert notes == {root / "buffalo_l.zip": f"still packed: unpack it into {root / 'models' / 'buffalo_l'}"} | {
        path: f"in no pack's folder: move it into the folder of its pack in {root / 'models'}" for path in loose
    }
    assert "! insightface buffalo_l/glintr100.onnx: in no pack's folder" in as_text(report) and draw_report(report)
    with pytest.raises(FileNotFoundError) as error:
        find_pack("buffalo_l", [root])
    for path in notes:
        assert f"{path} is still packed" in str(error.value) or f"{path.parent} itself holds" in str(error.value)
    assert "inswapper" not in str(error.value)


def test_identity_presets_name_all_their_parts_and_run_without_those_that_no_loader_needs(places, look, tmp_path):
    for name in ("pulid", "facexlib", "controlnet", "text_encoders"):
        (tmp_path / name).mkdir()
        places[name] = [tmp_path / name]
    eva, pack, parser = "eva02_large_patch14_clip_336.safetensors", "antelopev2", "parsing_bisenet.pth"
    net, pulid = "instantid-controlnet.safetensors", verdict_of(look(), "PULID", "sdxl")
    assert [file.name for file in pulid.missing] == ["pulid_v1.1.safetensors", eva, pack, parser]
    instantid = verdict_of(look(), "INSTANTID", "sdxl")
    assert [file.name for file in instantid.missing] == ["instantid-ip-adapter.bin", pack, net]
    headers.save(pulid_files.pulid("pulid_v1.1.safetensors", device="meta", published=True), tmp_path / "pulid/a.sft")
    assert [file.name for file in verdict_of(look(), "PULID", "sdxl").missing] == [eva, pack, parser]
    headers.save(headers.eva(), tmp_path / "pulid" / "eva.safetensors")  # where no loader looks for encoders
    told = {file["name"]: file for file in json.loads(as_json(look()))["files"]}
    assert told["a.sft"]["misses"] == [eva, f"face pack {pack}"]
    authors = tmp_path / "text_encoders" / "EVA02_CLIP_L_336_psz14_s6B.pt"  # in models/clip
    torch.save(headers.filled(headers.eva("visual.")), authors)
    write_face_pack(tmp_path / "insightface/models/antelopev2")
    found = verdict_of(report := look(), "PULID", "sdxl")
    assert found.runs and [file.name for file in found.missing] == [parser]
    assert outcome(found) == (DOUBT, "no parser")
    assert "without facexlib's face parser: get parsing_bisenet.pth from github.com/xinntao/facexlib" in as_text(report)
    told = {file["name"]: file for file in json.loads(as_json(report))["files"]}
    assert told["a.sft"]["works_with"] == ["EVA02_CLIP_L_336_psz14_s6B.pt", "face pack antelopev2"]
    assert told["EVA02_CLIP_L_336_psz14_s6B.pt"]["what"] == "EVA02-CLIP L/14 at 336 pixels, for PuLID"
    (tmp_path / "facexlib" / parser).write_bytes(b"a network")
    assert outcome(verdict_of(look(), "PULID", "sdxl")) == (GOOD, "runs")

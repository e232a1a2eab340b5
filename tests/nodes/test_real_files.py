"""Files with the headers of published ones, to the loaders and to the doctor, in any folder and under any name."""

import pytest

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

import published_headers as headers
from pack.doctor.survey import DOUBTFUL, FINE, survey
from pack.ipadapter.peek import facts_of
from pack.nodes.loading.files import adapter_files
from pack.nodes.loading.places import model_places
from pack.nodes.loading.search import folders

REAL = {  # real headers, the name under which each was published, and the doctor's title
    "standard": ("ip-adapter_sd15.safetensors", "standard adapter for SD1.5"),
    "plus_face": ("ip-adapter-plus-face_sd15.safetensors", "plus face adapter for SD1.5"),
    "xlabs_v1": ("flux-ip-adapter.safetensors", "XLabs Flux adapter for Flux"),
    "xlabs_v2": ("flux-ip-adapter-v2.safetensors", "XLabs Flux v2 adapter for Flux"),
    "clip_l": ("clip-vit-large-patch14.safetensors", "CLIP ViT-L/14"),
    "ip_adapter_sd1_encoder": ("CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "CLIP ViT-H/14 (laion2B s32B b79K)"),
    "siglip": ("sigclip_vision_patch14_384.safetensors", "SigLIP so400m patch14 384 with its pooling head"),
}
FOLDERS = ("ipadapter", "ipadapter-flux", "xlabs/ipadapters", "instantid", "instantid/SDXL", "pulid", "controlnet")


def test_every_real_header_is_the_same_to_loader_and_doctor_under_any_name_in_every_folder(models):
    assert set(REAL) == {path.stem for path in headers.FOLDER.glob("*.json")}
    wrong = []
    for header, (name, title) in REAL.items():
        is_adapter = "adapter for" in title
        names = {name: title, "my ip adapter.safetensors": title.replace("plus face", "plus")}
        for place in FOLDERS if is_adapter else ("clip_vision", "clip_vision/SD1.5"):
            for called, expected in names.items():
                path = headers.save(headers.real(header), models / place / called)
                (file,) = survey(model_places())
                kind = "adapter" if is_adapter else "encoder"
                listed = folders("ipadapter" if is_adapter else "clip_vision")
                seen = [facts_of(each) for folder in listed.values() for each in folder.files.values()]
                if (file.state, file.kind, file.title[: len(expected)]) != (FINE, kind, expected):
                    wrong.append((place, called, file.state, file.title, file.note))
                if [(facts.adapter, facts.encoder) for facts in seen] != [(file.config, file.sizes)]:
                    wrong.append((place, called, seen))
                path.unlink()
    assert wrong == []


def test_an_adapter_that_no_loader_lists_for_its_name_is_no_file_that_is_fine_to_the_doctor(models):
    headers.save(headers.real("standard"), models / "controlnet" / "mine.safetensors")
    assert adapter_files() == []
    (file,) = survey(model_places())
    assert file.state == DOUBTFUL and "with 'ip-adapter' in their names only: link it into models/ipa" in file.note

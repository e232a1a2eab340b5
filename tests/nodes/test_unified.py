"""The unified loaders: which files they take, what they leave alone, and what they say when something is missing."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import folder_paths
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

import published_headers as headers
import synthetic
from faces import assets
from identity.pulid_files import pulid
from model_doctor import shelves
from pack.encoders.faces import pack_name
from pack.ipadapter.catalog import ADAPTERS, ANIME
from pack.ipadapter.errors import AdapterError, ModelMismatchError
from pack.ipadapter.families import FAMILIES
from pack.ipadapter.presets import COMMUNITY, FACES, GENERAL
from pack.nodes.loading import by_preset
from pack.nodes.loading.adapters import load_adapter, open_pipeline
from pack.nodes.loading.face_packs import pack_names
from pack.nodes.unified import (
    IPAdapterUnifiedLoader,
    IPAdapterUnifiedLoaderCommunity,
    IPAdapterUnifiedLoaderFaceID,
)
from test_nodes_pack.unets import tiny_model

ENCODERS = {"H": (1024, 1280, 257), "bigG": (1280, 1664, 257), "L336": (768, 1024, 577), "L224": (768, 1024, 257)}
STANDARD, PLUS, VIT_G = "STANDARD (medium strength)", "PLUS (high strength)", "VIT-G (medium strength)"


@pytest.fixture(scope="module")
def sd15():
    return tiny_model("sd15", seed=0)


@pytest.fixture(scope="module")
def sdxl():
    return tiny_model("sdxl shallow", seed=0)


def write_adapter(folder, name, like="", **changes):
    shelves.write_adapter(folder / name, like, **changes)


def write_encoder(folder, name, kind):
    shelves.write_encoder(folder / name, ENCODERS[kind])


def write_face_pack(folders, name):
    target = Path(folder_paths.models_dir) / "insightface" / "models" / name
    shutil.copytree(assets.face_models() / "models" / assets.PACK, target)


def load(node, model, preset, **more):
    return node.execute(model, preset, **more).result


def names(pipeline):
    return {key: Path(part["file"]).name for key, part in pipeline.items() if part.get("file")}


def test_a_preset_brings_the_adapter_of_the_model_s_family_and_the_encoder_that_fits_it(folders, sd15, sdxl):
    for name in ("ip-adapter-plus_sd15.safetensors", "ip-adapter-plus_sdxl_vit-h.safetensors"):
        write_adapter(folders["ipadapter"], name)
    write_encoder(folders["clip_vision"], "a.safetensors", "bigG")
    write_encoder(folders["clip_vision"], "b.safetensors", "H")
    expected = {sd15: "ip-adapter-plus_sd15.safetensors", sdxl: "ip-adapter-plus_sdxl_vit-h.safetensors"}
    for model, file in expected.items():
        out, pipeline = load(IPAdapterUnifiedLoader, model, PLUS)
        assert out is model
        assert names(pipeline) == {"ipadapter": file, "clipvision": "b.safetensors"}
        assert pipeline["ipadapter"]["model"].config.family == ("sd15" if model is sd15 else "sdxl")
        assert pipeline["insightface"]["model"] is None


def test_an_encoder_whose_name_lies_is_passed_over(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter_sd15.safetensors")
    write_encoder(folders["clip_vision"], "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "bigG")
    write_encoder(folders["clip_vision"], "model.safetensors", "H")
    assert names(load(IPAdapterUnifiedLoader, sd15, STANDARD)[1])["clipvision"] == "model.safetensors"


def test_a_published_encoder_name_decides_among_several_that_fit(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter_sd15.safetensors")
    write_encoder(folders["clip_vision"], "another.safetensors", "H")
    write_encoder(folders["clip_vision"], "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "H")
    found = names(load(IPAdapterUnifiedLoader, sd15, STANDARD)[1])["clipvision"]
    assert found == "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"


def test_vit_g_and_standard_of_sdxl_are_told_apart_by_their_tensors(folders, sdxl):
    write_adapter(folders["ipadapter"], "one.safetensors", like="ip-adapter_sdxl.safetensors")
    write_adapter(folders["ipadapter"], "two.safetensors", like="ip-adapter_sdxl_vit-h.safetensors")
    for name, kind in (("g.safetensors", "bigG"), ("h.safetensors", "H")):
        write_encoder(folders["clip_vision"], name, kind)
    standard, vit_g = (names(load(IPAdapterUnifiedLoader, sdxl, preset)[1]) for preset in (STANDARD, VIT_G))
    assert standard == {"ipadapter": "two.safetensors", "clipvision": "h.safetensors"}
    assert vit_g == {"ipadapter": "one.safetensors", "clipvision": "g.safetensors"}


def test_several_files_that_could_be_it_are_listed_instead_of_one_being_picked(folders, sd15):
    for name in ("one.safetensors", "two.safetensors"):
        write_adapter(folders["ipadapter"], name, like="ip-adapter_sd15.safetensors")
    with pytest.raises(FileNotFoundError, match="ip-adapter_sd15.safetensors, and several could be it: one.*two"):
        load(IPAdapterUnifiedLoader, sd15, STANDARD)


def test_every_preset_finds_its_published_file_among_all_of_them_or_says_which_families_have_it(folders):
    from pack.nodes.loading.search import find_adapter

    for name in (*synthetic.ZOO, *(file.name for file in ADAPTERS if file.folder == "pulid")):
        (folders["ipadapter"] / name).touch()
    for preset, wanted in {**GENERAL, **FACES, **COMMUNITY}.items():
        for family in (FAMILIES["sd15"], FAMILIES["sdxl"]):
            published = next((wanted.adapters[name] for name in family.presets if name in wanted.adapters), None)
            if published is not None:
                assert find_adapter(preset, wanted, family).name == published.name
                continue
            with pytest.raises(ValueError, match=r"exists for .* only, and the model is (SD1.5|SDXL)"):
                find_adapter(preset, wanted, family)


def test_a_missing_adapter_names_the_file_the_folder_the_source_and_what_was_found(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter_sd15.safetensors")
    (folders["ipadapter"] / "broken.safetensors").write_bytes(b"half a download")
    with pytest.raises(FileNotFoundError) as error:
        load(IPAdapterUnifiedLoader, sd15, PLUS)
    for words in (
        "expected ip-adapter-plus_sd15.safetensors", str(folders["ipadapter"]), "h94/IP-Adapter",
        "ip-adapter_sd15.safetensors (standard for sd15)", "broken.safetensors (not understood)",
    ):  # fmt: skip
        assert words in str(error.value)


def test_a_missing_encoder_says_which_width_is_needed_and_what_was_found(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter-plus_sd15.safetensors")
    write_encoder(folders["clip_vision"], "CLIP-ViT-H.safetensors", "bigG")
    message = "hidden embeds 1280 wide: expected CLIP-ViT-H-14.*hidden 1664 wide, 257 tokens"
    with pytest.raises(FileNotFoundError, match=message):
        load(IPAdapterUnifiedLoader, sd15, PLUS)


def test_kolors_takes_the_encoder_of_336_pixels(folders, sdxl):
    write_adapter(folders["ipadapter"], "ip_adapter_plus_general.bin", like="Kolors-IP-Adapter-Plus.bin", dim=2048)
    write_encoder(folders["clip_vision"], "clip-vit-large-patch14.safetensors", "L224")
    write_encoder(folders["clip_vision"], "clip-vit-large-patch14-336.safetensors", "L336")
    found = names(load(IPAdapterUnifiedLoaderCommunity, sdxl, "Kolors")[1])
    assert found == {
        "ipadapter": "ip_adapter_plus_general.bin", "clipvision": "clip-vit-large-patch14-336.safetensors",
    }  # fmt: skip


def test_a_pulid_comes_with_its_encoder_and_face_pack_for_every_socket_of_its_apply_node(folders, sdxl, monkeypatch):
    tower = object()
    monkeypatch.setattr(by_preset, "load_eva", lambda: tower)  # one of 0.3 billion numbers
    (folders["ipadapter"].parent / "pulid").mkdir()
    torch.save(pulid("pulid_v1.bin", channels=[8] * 11), folders["ipadapter"].parent / "pulid" / "mine.bin")
    with pytest.raises(FileNotFoundError, match="EVA02_CLIP_L_336_psz14_s6B.pt.*open_clip_model.safetensors"):
        load(IPAdapterUnifiedLoaderFaceID, sdxl, "PULID")
    headers.save(headers.eva(), folders["clip_vision"] / "some eva.safetensors")
    write_face_pack(folders, "antelopev2")
    _, pipeline = load(IPAdapterUnifiedLoaderFaceID, sdxl, "PULID")
    assert names(pipeline) == {"ipadapter": "mine.bin", "clipvision": "some eva.safetensors"}
    parts = open_pipeline(pipeline, pipeline, pipeline)
    assert parts.adapter.config.variant == "PuLID" and parts.clip_vision is tower
    assert pack_name(parts.insightface) == "antelopev2"
    with pytest.raises(AdapterError, match="connected as face pack has loaded none"):
        open_pipeline(pipeline, pipeline, pipeline | {"insightface": None})


def test_an_adapter_of_sdxl_s_base_model_warns_on_an_anime_model_and_is_loaded(folders, sdxl, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(by_preset, "say_on_node", said.append)
    for name in ("ip-adapter-plus_sdxl_vit-h.safetensors", "noobIPAMARK1_mark1.safetensors"):
        write_adapter(folders["ipadapter"], name)
    for kind in ("H", "bigG"):
        write_encoder(folders["clip_vision"], f"{kind}.safetensors", kind)
    for name, warned in (("noobaiXL.safetensors", True), ("sd_xl_base_1.0.safetensors", False)):
        save_file({"a": torch.zeros(1)}, tmp_path / name)
        model = sdxl.clone()
        model.cached_patcher_init = (print, (str(tmp_path / name), False), 0)  # as ComfyUI's loaders leave it
        assert names(load(IPAdapterUnifiedLoader, model, PLUS)[1])["clipvision"] == "H.safetensors"
        anime = names(load(IPAdapterUnifiedLoaderCommunity, model, ANIME)[1])
        assert anime == {"ipadapter": "noobIPAMARK1_mark1.safetensors", "clipvision": "bigG.safetensors"}
        assert [line.startswith(f"{name} seems to be a NoobAI model") for line in said] == [True] * warned
        said.clear()
    merge = ModelSamplingDiscrete().patch(model, "v_prediction", False)[0]  # of a file whose name tells nothing
    load(IPAdapterUnifiedLoader, merge, PLUS)
    assert [line.split(", and")[0] for line in said] == ["sd_xl_base_1.0.safetensors seems to be a v-prediction model"]


def test_faceid_without_a_clip_part_needs_no_encoder_and_loads_none(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter-faceid_sd15.bin")
    write_encoder(folders["clip_vision"], "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "H")
    write_face_pack(folders, "buffalo_l")
    _, pipeline = load(IPAdapterUnifiedLoaderFaceID, sd15, "FACEID", lora_strength=0.0, provider="CPU")
    assert folders["loaded"] == [] and pipeline["clipvision"]["model"] is None
    assert sorted(pipeline["insightface"]["model"].models) == ["detection", "recognition"]


def test_the_lora_of_the_adapter_s_own_file_is_applied_to_a_clone(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter-faceid_sd15.bin")
    write_face_pack(folders, "buffalo_l")
    out, _ = load(IPAdapterUnifiedLoaderFaceID, sd15, "FACEID", lora_strength=0.6, provider="CPU")
    assert len(out.patches) == 4 * 32 and not sd15.patches
    assert {patch[0] for patches in out.patches.values() for patch in patches} == {0.6}


def test_the_separate_lora_file_is_paired_by_name_and_family_where_the_adapter_holds_none(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter-faceid_sd15.bin", lora=False)
    write_face_pack(folders, "buffalo_l")
    settings = {"lora_strength": 0.5, "provider": "CPU"}
    with pytest.raises(FileNotFoundError, match="expected ip-adapter-faceid_sd15_lora.safetensors"):
        load(IPAdapterUnifiedLoaderFaceID, sd15, "FACEID", **settings)
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    for name, width in (("a_faceid_sd15_lora.safetensors", 2048), ("b-faceid_sd15_lora.safetensors", 768)):
        halves = {f"{key}.lora_down.weight": torch.ones(4, width), f"{key}.lora_up.weight": torch.ones(32, 4)}
        save_file(halves, folders["loras"] / name)
    folder_paths.filename_list_cache.clear()
    out, _ = load(IPAdapterUnifiedLoaderFaceID, sd15, "FACEID", **settings)
    assert list(out.patches) == ["diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"]


def test_faceid_presets_take_any_pack_and_name_the_missing_one(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter-faceid_sd15.bin")
    settings = {"lora_strength": 0.0, "provider": "CPU"}
    with pytest.raises(FileNotFoundError, match="No face pack 'buffalo_l'.*non-commercial"):
        load(IPAdapterUnifiedLoaderFaceID, sd15, "FACEID", **settings)
    write_face_pack(folders, "mine")
    assert pack_names() == ["buffalo_l", "antelopev2", "mine"]
    _, pipeline = load(IPAdapterUnifiedLoaderFaceID, sd15, "FACEID", model_name="mine", **settings)
    assert pipeline["insightface"]["model"].det_model is not None
    settings["provider"] = "CUDA"
    _, elsewhere = load(IPAdapterUnifiedLoaderFaceID, sd15, "FACEID", model_name="mine", **settings)
    assert elsewhere["insightface"]["model"].det_model.session.get_providers() == ["CPUExecutionProvider"]


def test_another_loader_s_output_is_handed_on_and_never_changed(folders, sd15):
    for name in ("ip-adapter_sd15.safetensors", "ip-adapter-faceid_sd15.bin"):
        write_adapter(folders["ipadapter"], name)
    write_encoder(folders["clip_vision"], "h.safetensors", "H")
    write_face_pack(folders, "buffalo_l")
    _, first = load(IPAdapterUnifiedLoader, sd15, STANDARD)
    before = {key: dict(part) for key, part in first.items()}
    settings = {"lora_strength": 0.0, "provider": "CPU"}
    _, second = load(IPAdapterUnifiedLoaderFaceID, sd15, "FACEID", ipadapter=first, **settings)
    assert second["clipvision"]["model"] is first["clipvision"]["model"] and folders["loaded"] == ["h.safetensors"]
    second["clipvision"]["model"] = second["ipadapter"]["model"] = None
    assert {key: dict(part) for key, part in first.items()} == before


def test_the_same_files_are_loaded_once(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter_sd15.safetensors")
    write_encoder(folders["clip_vision"], "h.safetensors", "H")
    first, second = (load(IPAdapterUnifiedLoader, sd15, STANDARD)[1] for _ in range(2))
    assert folders["loaded"] == ["h.safetensors"]
    for part in ("ipadapter", "clipvision"):
        assert first[part] is not second[part] and first[part]["model"] is second[part]["model"]


def test_a_single_adapter_on_the_loader_s_socket_is_refused(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter_sd15.safetensors")
    path = folders["ipadapter"] / "ip-adapter_sd15.safetensors"
    with pytest.raises(AdapterError, match="another unified loader gives.*LoadedAdapter"):
        load(IPAdapterUnifiedLoader, sd15, STANDARD, ipadapter=load_adapter(path))


def test_a_model_of_another_family_is_named(folders, sd15):
    other = sd15.clone()
    unet = tiny_model("sd15", seed=0).model.diffusion_model
    for block in unet.modules():
        if hasattr(block, "attn2"):
            block.attn2.to_k.in_features = 1024
    other.add_object_patch("diffusion_model", unet)
    with pytest.raises(ModelMismatchError, match="reads text 1024 wide"):
        load(IPAdapterUnifiedLoader, other, STANDARD)


def test_other_packs_call_the_loaders_by_keyword(folders, sd15):
    write_adapter(folders["ipadapter"], "ip-adapter_sd15.safetensors")
    write_encoder(folders["clip_vision"], "h.safetensors", "H")
    model, pipeline = IPAdapterUnifiedLoader().load_models(
        model=sd15, preset=STANDARD, lora_strength=0.0, provider="CPU"
    )
    assert model is sd15 and names(pipeline)["ipadapter"] == "ip-adapter_sd15.safetensors"

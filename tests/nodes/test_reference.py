"""What IPAdapter Reference chooses among real model files, and what it says where files are missing."""

import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import folder_paths

import published_headers as headers
import synthetic_transformers
from faces import assets
from model_doctor.shelves import VIT_G, VIT_H, VIT_L, write_adapter, write_encoder
from pack.ipadapter import catalog
from pack.ipadapter.errors import AdapterError, ModelMismatchError, NoAdapterError
from pack.ipadapter.families import FAMILIES
from pack.ipadapter.presets import PRESETS
from pack.ipadapter.takes import TAKES, recipes_for
from pack.nodes.applying.without_adapter import scaled_down
from pack.nodes.loading.by_preset import FaceSettings, load_preset
from pack.nodes.loading.by_take import choose
from test_nodes_pack.edits import EVERY_MODEL
from test_nodes_pack.transformers import EVERY_TRANSFORMER, FLUX, Transformer, model_of
from test_nodes_pack.unets import tiny_model


@pytest.fixture(scope="module")
def models():
    return {name: tiny_model(name, seed=0) for name in ("sd15", "sdxl shallow", "sdxl refiner")}


def test_the_best_complete_preset_is_taken_and_an_incomplete_one_is_passed_over(folders, models):
    write_adapter(folders["ipadapter"] / "ip-adapter_sd15.safetensors")
    write_adapter(folders["ipadapter"] / "ip-adapter-plus_sdxl_vit-h.safetensors")
    write_adapter(folders["ipadapter"] / "ip-adapter_sdxl.safetensors")
    write_encoder(folders["clip_vision"] / "h.safetensors", VIT_H)
    expected = {"sd15": catalog.STANDARD, "sdxl shallow": catalog.PLUS}
    for name, preset in expected.items():
        chosen = choose(models[name], "everything")
        assert chosen.preset == preset and chosen.files[1:] == ("h.safetensors",) and chosen.model is models[name]
    (folders["clip_vision"] / "h.safetensors").unlink()
    write_encoder(folders["clip_vision"] / "g.safetensors", VIT_G)
    folder_paths.filename_list_cache.clear()
    chosen = choose(models["sdxl shallow"], "style")
    assert chosen.preset == catalog.VIT_G_PRESET and chosen.files == ("ip-adapter_sdxl.safetensors", "g.safetensors")


def test_a_layout_is_taken_by_the_composition_adapter_with_all_layers_else_by_the_layout_s_layers(folders, models):
    write_adapter(folders["ipadapter"] / "ip-adapter-plus_sd15.safetensors")
    write_encoder(folders["clip_vision"] / "h.safetensors", VIT_H)
    chosen = choose(models["sd15"], "layout")
    assert (chosen.preset, chosen.recipe.layers) == (catalog.PLUS, "composition")
    write_adapter(folders["ipadapter"] / "ip_plus_composition_sd15.safetensors")
    folder_paths.filename_list_cache.clear()
    chosen = choose(models["sd15"], "layout")
    assert (chosen.preset, chosen.recipe.layers) == ("Composition", "linear")


def test_a_face_is_taken_by_faceid_with_its_lora_else_by_the_adapter_for_faces(folders, models):
    write_adapter(folders["ipadapter"] / "ip-adapter-plus-face_sd15.safetensors")
    write_adapter(folders["ipadapter"] / "ip-adapter-faceid-plusv2_sd15.bin")
    write_encoder(folders["clip_vision"] / "h.safetensors", VIT_H)
    assert choose(models["sd15"], "face or person").preset == catalog.PLUS_FACE  # no face pack is there
    packs = folders["ipadapter"].parent / "insightface" / "models"
    shutil.copytree(assets.face_models() / "models" / assets.PACK, packs / "buffalo_l")
    chosen = choose(models["sd15"], "face or person")
    assert chosen.preset == catalog.FACEID_PLUS_V2 and "buffalo_l" in chosen.files
    assert chosen.model.patches and not models["sd15"].patches
    write_adapter(folders["ipadapter"] / "ip-adapter-faceid-plusv2_sd15.bin", lora=False)
    folder_paths.filename_list_cache.clear()
    chosen = choose(models["sd15"], "face or person")
    assert not chosen.model.patches and "ip-adapter-faceid-plusv2_sd15_lora.safetensors" in chosen.notes[0]


def test_an_anime_model_gets_the_anime_adapter_gently_and_else_a_warning(folders, models, tmp_path):
    write_adapter(folders["ipadapter"] / "ip-adapter-plus_sdxl_vit-h.safetensors")
    for name, sizes in (("h", VIT_H), ("g", VIT_G)):
        write_encoder(folders["clip_vision"] / f"{name}.safetensors", sizes)
    save_file({"a": torch.zeros(1)}, tmp_path / "noobaiXL.safetensors")
    model = models["sdxl shallow"].clone()
    model.cached_patcher_init = (print, (str(tmp_path / "noobaiXL.safetensors"), False), 0)  # as ComfyUI leaves it
    chosen = choose(model, "everything")
    assert chosen.preset == catalog.PLUS and "noobaiXL.safetensors seems to be a NoobAI model" in chosen.notes[0]
    write_adapter(folders["ipadapter"] / "noobIPAMARK1_mark1.safetensors")
    folder_paths.filename_list_cache.clear()
    chosen = choose(model, "everything")
    assert (chosen.preset, chosen.recipe.weight, chosen.recipe.end_at) == (catalog.ANIME, 0.45, 0.6)
    assert not chosen.notes
    assert choose(models["sdxl shallow"], "everything").preset == catalog.PLUS


def test_what_is_missing_is_named_with_its_source_and_the_node_that_fetches_it(folders, models):
    with pytest.raises(AdapterError) as error:
        choose(models["sdxl shallow"], "style")
    for words in (
        "'style' on SDXL models", "ip-adapter-plus_sdxl_vit-h.safetensors from huggingface.co/h94/IP-Adapter",
        "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "IPAdapter Model Download",
        "preset PLUS (high strength), family SDXL, download on",
    ):  # fmt: skip
        assert words in str(error.value), words


def test_transformers_take_everything_and_say_why_not_the_rest(folders):
    write_encoder(folders["clip_vision"] / "l.safetensors", VIT_L)
    flux = model_of(Transformer("Flux", FLUX | {"depth": 19, "depth_single_blocks": 38}, 57))
    with pytest.raises(AdapterError, match="instantx-flux-ip-adapter.bin from"):
        choose(flux, "everything")
    for take in TAKES:
        if take != "everything":
            reason = "adapter for faces" if "face" in take else "layers of the model carry style and composition"
            with pytest.raises(NoAdapterError, match=f"{reason}.*Flux.*'everything'"):
                choose(flux, take)


RELATIVES: dict[
    str, tuple[str, str, str, dict[str, Any]]
] = {  # of the models that adapters were published for: a preset of those, its file, kind and sizes
    "Flux.2": (catalog.XLABS_PRESET, "flux-ip-adapter.safetensors", "XLabs Flux", {"embed": 768, "channels": 64}),
    "SD3.5 Medium": (catalog.SD35_PRESET, "instantx-sd3.5-large-ip-adapter.bin", "InstantX SD3.5", {"embed": 1152}),
}


@pytest.mark.parametrize("name", RELATIVES)
def test_a_relative_gets_no_adapter_for_other_blocks_and_is_not_told_to_fetch_one(folders, name):
    preset, file, kind, sizes = RELATIVES[name]
    model, path = model_of({**EVERY_MODEL, **EVERY_TRANSFORMER}[name]), folders["ipadapter"] / file
    write_encoder(folders["clip_vision"] / "l.safetensors", VIT_L)
    headers.save(headers.siglip(), folders["clip_vision"] / "siglip.safetensors")
    for blocks in (3, 2):  # the model has two of each sort
        state = synthetic_transformers.adapter(kind, blocks=blocks, **sizes)
        (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
        if blocks == 2:
            assert choose(model, "everything").files[0] == file
            continue
        with pytest.raises(NoAdapterError, match="No adapter was published for this model.* but has 2 ") as error:
            choose(model, "everything")
        assert "Model Download" not in str(error.value)
    path.unlink()
    with pytest.raises(NoAdapterError, match="No adapter was published for this model.* but has 2 "):
        load_preset(model, preset, PRESETS, None, FaceSettings())


def test_where_no_adapter_fits_a_large_picture_is_made_smaller_before_the_model_runs_on_it():
    for shape, expected in {(600, 400): (600, 400), (1024, 2048): (704, 1472), (4000, 100): (4000, 100)}.items():
        assert scaled_down(torch.rand(2, *shape, 3), 1024 * 1024).shape == (2, *expected, 3)


def test_a_model_without_any_adapter_is_refused_with_the_families_that_have_one(folders, models):
    with pytest.raises(ModelMismatchError, match="SD1.5, SDXL, Kolors, Flux and SD3.5"):
        choose(models["sdxl refiner"], "everything")


def test_every_choice_has_an_adapter_on_every_family_whose_layers_are_known_and_names_no_other_preset():
    for take in TAKES.values():
        assert {preset for recipe in take.recipes for preset in recipe.presets} <= PRESETS.keys()
    for name in ("sd15", "sdxl", "kolors"):
        assert [take for take in TAKES if not recipes_for(take, FAMILIES[name], anime=False)] == []
    for name in ("flux", "sd3.5"):
        assert [take for take in TAKES if recipes_for(take, FAMILIES[name], anime=False)] == ["everything"]

"""Other packs create our node classes and call them by keyword, read their lists, and bring adapters of their own."""

from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import folder_paths

import synthetic
from pack.nodes.apply import IPAdapter, IPAdapterAdvanced, IPAdapterMS
from pack.nodes.apply_embeds import IPAdapterEmbeds
from pack.nodes.apply_tiled import IPAdapterTiled
from pack.nodes.embeds import IPAdapterEncoder
from pack.nodes.loaders import IPAdapterModelLoader
from pack.nodes.loading.files import register_folder
from pack.nodes.sampling.attach import attached_prompts
from pack.weight_schedules.layers import WEIGHT_TYPES
from test_nodes_pack import standins, unets

BLOCKS = 16


@pytest.fixture(scope="module")
def state_dict() -> dict[str, Any]:
    return synthetic.adapter("standard", seed=7, context=768, channels=synthetic.sd15_channels(32), pooled=32)


@pytest.fixture(scope="module")
def vision():
    return standins.tiny_clip_vision(3, 64, 32, 224)


@pytest.fixture
def model():
    return unets.tiny_model("sd15", seed=1)


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(1))


def attached(model: Any) -> tuple[Any, list[float]]:
    """The only prompt on a model, and its weight in every layer."""
    (prompt,) = attached_prompts(model)
    return prompt, list(prompt.weights.at(0.5))


def test_apply_nodes_are_called_with_every_keyword_and_none_for_what_is_missing(model, state_dict, vision, picture):
    made = IPAdapterMS().apply_ipadapter(
        model, state_dict, image=picture, weight=0.5, weight_faceidv2=None, weight_kolors=None, weight_type="linear",
        combine_embeds="concat", start_at=0.0, end_at=1.0, embeds_scaling="K+V", layer_weights="3:2, 6:1",
        image_negative=None, attn_mask=None, clip_vision=vision, insightface=None,
    )  # fmt: skip
    prompt, weights = attached(made[0])
    assert prompt.scaling == "K+V"
    assert weights == [{3: 1.0, 6: 0.5}.get(layer, 0.0) for layer in range(BLOCKS)]
    assert attached_prompts(model) == ()


def test_a_keyword_that_no_apply_node_has_is_named(model, state_dict, vision, picture):
    with pytest.raises(TypeError, match="no input wieght"):
        IPAdapterAdvanced().apply_ipadapter(model, state_dict, image=picture, wieght=1.0, clip_vision=vision)


def test_a_unified_loaders_dictionary_brings_its_encoder(model, state_dict, vision, picture):
    pipeline = {
        "clipvision": {"file": "clip.safetensors", "model": vision},
        "ipadapter": {"file": "ip-adapter_sd15.safetensors", "model": state_dict},
        "insightface": {"provider": None, "model": None},
    }
    before = {name: dict(part) for name, part in pipeline.items()}
    made = IPAdapter().apply_ipadapter(
        model, pipeline, image=picture, weight=0.5, start_at=0.0, end_at=1.0, weight_type="standard"
    )
    assert attached(made[0])[1] == [0.5] * BLOCKS
    assert pipeline == before


def test_a_loader_that_has_no_insightface_key_is_understood(model, state_dict, vision, picture):
    pipeline = {"clipvision": {"model": vision}, "ipadapter": {"model": state_dict}}
    made = IPAdapterAdvanced().apply_ipadapter(model, pipeline, image=picture, weight=1.0, weight_type="linear")
    assert attached(made[0])[1] == [1.0] * BLOCKS


def test_encode_gives_both_embeds_and_embeds_nodes_take_them(model, state_dict, vision, picture):
    positive, negative = IPAdapterEncoder().encode(ipadapter=state_dict, image=picture, weight=0.5, clip_vision=vision)
    whole, _ = IPAdapterEncoder().encode(ipadapter=state_dict, image=picture, clip_vision=vision)
    assert positive.equal(whole * 0.5) and negative.eq(0).all()
    made = IPAdapterEmbeds().apply_ipadapter(
        model, state_dict, pos_embed=positive, neg_embed=negative, weight=1.0, weight_type="linear", start_at=0.0,
        end_at=1.0, embeds_scaling="V only", clip_vision=vision,
    )  # fmt: skip
    assert attached(made[0])[1] == [1.0] * BLOCKS


def test_apply_tiled_gives_model_tiles_and_masks(model, state_dict, vision, picture):
    made, tiles, masks = IPAdapterTiled().apply_tiled(
        model, state_dict, image=picture, weight=1.0, weight_type="linear", combine_embeds="concat", start_at=0.0,
        end_at=1.0, sharpening=0.0, embeds_scaling="V only", clip_vision=vision,
    )  # fmt: skip
    assert len(attached_prompts(made)) == 4 and tiles.shape == (4, 256, 256, 3) and masks.shape == (4, 512, 512)


def test_a_loader_is_called_by_file_name(tmp_path, monkeypatch, model, state_dict, vision, picture):
    synthetic.save(state_dict, tmp_path / "tiny.safetensors")
    register_folder("ipadapter")
    extensions = folder_paths.folder_names_and_paths["ipadapter"][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", ([str(tmp_path)], extensions))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    (adapter,) = IPAdapterModelLoader().load_ipadapter_model(ipadapter_file="tiny.safetensors")
    made = IPAdapterAdvanced().apply_ipadapter(model, adapter, image=picture, weight_type="linear", clip_vision=vision)
    assert attached(made[0])[1] == [1.0] * BLOCKS


def test_lists_are_read_where_they_always_stood():
    assert IPAdapterAdvanced.INPUT_TYPES()["required"]["weight_type"][0] == list(WEIGHT_TYPES)
    combos = IPAdapterAdvanced.INPUT_TYPES()["required"]["combine_embeds"][0]
    assert isinstance(combos, list) and combos + ["more"] == [*combos, "more"]

"""Presets for Flux and SD3.5, and the pooling head of SigLIP, which lies in the vision model's own file."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.clip_vision
import folder_paths

import synthetic_transformers
import tiny_transformers as tiny
from pack.encoders.siglip import KEYS, PREFIX, pool
from pack.ipadapter.errors import EncoderMismatchError
from pack.nodes.applying.encoding import Encoder
from pack.nodes.loading.adapters import Pipeline
from pack.nodes.loading.siglip_head import siglip_pooled
from pack.nodes.unified import IPAdapterUnifiedLoader, IPAdapterUnifiedLoaderCommunity
from test_nodes_pack.standins import tiny_siglip
from transformer_rig import adapter, tiny_model

SIGLIP, VIT_L = "sigclip_vision_patch14_384.safetensors", "clip-vit-large-patch14.safetensors"
PRESETS = {  # what each is made of: adapter, its file, its encoder's file
    "FLUX - XLabs": ("XLabs Flux", "flux-ip-adapter.safetensors", VIT_L),
    "FLUX - XLabs v2": ("XLabs Flux v2", "flux-ip-adapter-v2.safetensors", VIT_L),
    "FLUX - InstantX": ("InstantX Flux", "instantx-flux-ip-adapter.bin", SIGLIP),
    "SD3.5 LARGE - InstantX": ("InstantX SD3.5", "instantx-sd3.5-large-ip-adapter.bin", SIGLIP),
}


FOLDERS = ("ipadapter", "clip_vision")


def look_in(monkeypatch, folder: Path) -> None:
    for name in FOLDERS:
        entry = ([str(folder / name)], {".safetensors", ".bin"})
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, entry)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Empty folders of models."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    look_in(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folders with every adapter and encoder that presets are made of."""
    folder = tmp_path_factory.mktemp("published")
    for name in FOLDERS:
        (folder / name).mkdir()
    for kind, file, _ in PRESETS.values():
        write(folder / "ipadapter", kind, file)
    write_encoders(folder / "clip_vision")
    yield folder
    shutil.rmtree(folder)


def write(folder: Path, kind: str, name: str) -> None:
    embed = 768 if kind.startswith("XLabs") else 1152
    sizes: dict[str, Any] = tiny.ADAPTERS[kind] | {"embed": embed, "blocks": 2 if kind != "InstantX Flux" else 4}
    state = synthetic_transformers.adapter(kind, **sizes)
    (save_file if name.endswith(".safetensors") else torch.save)(state, folder / name)


def write_encoders(folder: Path) -> None:
    table = "vision_model.embeddings.position_embedding.weight"
    save_file({table: torch.zeros(729, 1152), **{KEYS[0]: torch.zeros(1, 1, 1152)}}, folder / SIGLIP)
    class_token = {"vision_model.embeddings.class_embedding": torch.zeros(1024)}
    save_file(
        {table: torch.zeros(257, 1024), "visual_projection.weight": torch.zeros(768, 1024), **class_token},
        folder / VIT_L,
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_brings_the_adapter_and_the_encoder_that_fits_it(published, monkeypatch, preset):
    kind, name, encoder = PRESETS[preset]
    monkeypatch.setattr(comfy.clip_vision, "load", lambda path: type("Encoder", (), {"path": path})())
    look_in(monkeypatch, published)
    model = tiny_model("sd3.5" if kind.endswith("SD3.5") else "flux")
    pipeline = IPAdapterUnifiedLoaderCommunity.execute(model, preset).result[1]
    assert Path(pipeline["ipadapter"]["file"]).name == name
    assert pipeline["ipadapter"]["model"].config.variant == kind
    assert Path(pipeline["clipvision"]["file"]).name == encoder


def test_a_preset_of_unets_says_which_presets_there_are_for_flux(folders):
    with pytest.raises(ValueError, match=r"is Flux\. .*: PULID FLUX, FLUX - XLabs, FLUX - XLabs v2, FLUX - InstantX\."):
        IPAdapterUnifiedLoader.execute(tiny_model("flux"), "STANDARD (medium strength)")


def head(width: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inner = 3 * width
    shapes = {
        "probe": (1, 1, width), "attention.in_proj_weight": (3 * width, width), "attention.in_proj_bias": (3 * width,),
        "attention.out_proj.weight": (width, width), "attention.out_proj.bias": (width,),
        "layernorm.weight": (width,), "layernorm.bias": (width,), "mlp.fc1.weight": (inner, width),
        "mlp.fc1.bias": (inner,), "mlp.fc2.weight": (width, inner), "mlp.fc2.bias": (width,),
    }  # fmt: skip
    return {PREFIX + name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_siglip_s_head_is_read_from_the_file_that_the_model_came_from(folders):
    encoder, other = tiny_siglip(seed=1), tiny_siglip(seed=2)
    own = {key: tensor.clone() for key, tensor in encoder.get_sd().items()}
    theirs = {key: tensor.clone() for key, tensor in other.get_sd().items()}
    save_file(theirs | head(32), folders / "clip_vision" / "another.safetensors")
    tokens = encoder.encode_image(torch.rand(1, 40, 60, 3))["image_embeds"]
    assert tokens.ndim == 3
    with pytest.raises(EncoderMismatchError, match=r"none of the files in models/clip_vision has it"):
        siglip_pooled(encoder, tokens)
    save_file(own, folders / "clip_vision" / "headless.safetensors")
    folder_paths.filename_list_cache.clear()
    with pytest.raises(EncoderMismatchError, match=r"headless\.safetensors has none.*sigclip_vision_patch14_384"):
        siglip_pooled(encoder, tokens)
    save_file(own | head(32), folders / "clip_vision" / "whole.safetensors")
    folder_paths.filename_list_cache.clear()
    expected = pool(tokens, head(32))
    torch.testing.assert_close(siglip_pooled(encoder, tokens), expected, rtol=1e-4, atol=1e-3)  # summed elsewhere


def test_instantx_stretches_pictures_that_are_not_square_and_pools_them(folders):
    encoder = tiny_siglip(seed=1)
    save_file(dict(encoder.get_sd()) | head(32), folders / "clip_vision" / "whole.safetensors")
    seen = Encoder(Pipeline(adapter("InstantX Flux"), encoder))(wide := torch.rand(1, 40, 80, 3))
    stretched = encoder.encode_image(wide, crop=False)["image_embeds"].float()
    torch.testing.assert_close(seen, pool(stretched, head(32)), rtol=1e-4, atol=1e-3)  # summed elsewhere
    cut = pool(encoder.encode_image(wide)["image_embeds"].float(), head(32))
    assert (seen - cut).abs().max() > 0.1

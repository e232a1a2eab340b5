"""An OpenCLIP encoder as CLIP_VISION: against ComfyUI's own on the same weights, in every precision."""

import json

import open_clip
import pytest
import torch

pytest.importorskip("comfy.clip_vision", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.clip_vision
import comfy.model_management

from openclip.files import close, pictures, save, siglip, small_openclip, transformers_layout
from pack.ipadapter.errors import AdapterError
from pack.nodes.loading.openclip import PRECISIONS, load_openclip

KEYS = ("image_embeds", "penultimate_hidden_states", "last_hidden_state")
CONFIG = {
    "model_type": "clip_vision_model", "hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2,
    "num_hidden_layers": 3, "num_channels": 3, "patch_size": 8, "projection_dim": 32, "image_size": 32,
}  # fmt: skip


@pytest.fixture
def comfyui(monkeypatch, tmp_path):
    """ComfyUI's own encoder of a configuration, with weights kept in `dtype`."""

    def build(config, tensors, dtype):
        monkeypatch.setattr(comfy.model_management, "text_encoder_dtype", lambda device=None: dtype)
        file = tmp_path / "comfyui.json"
        file.write_text(json.dumps(config))
        encoder = comfy.clip_vision.ClipVisionModel(str(file))
        missing, _ = encoder.load_sd({name: tensor.to(dtype) for name, tensor in tensors.items()})
        assert missing == []
        return encoder

    return build


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("layout", ["OpenCLIP", "transformers"])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_it_sees_what_comfyuis_own_sees(comfyui, precision, layout, activation, tmp_path):
    tensors = small_openclip().state_dict()
    dtype = PRECISIONS[precision](torch.device("cpu"))
    other = transformers_layout(tensors)
    file = save(tensors if layout == "OpenCLIP" else other, tmp_path / "encoder.safetensors", dtype)
    ours = load_openclip(file, "auto", activation, precision, "auto")
    theirs = comfyui({**CONFIG, "hidden_act": activation}, other, dtype)
    for images in (pictures(size=32), pictures(size=48)[:, :40], torch.cat([pictures()] * 2, -1)[..., :4]):
        mine, own = ours.encode_image(images), theirs.encode_image(images)
        for key in KEYS:
            close(mine[key], own[key])
            assert mine[key].dtype == torch.float32 and mine[key].shape == own[key].shape
    kept = {parameter.dtype for name, parameter in ours.model.named_parameters() if "resblocks" in name}
    assert kept == {dtype}


def test_a_siglip_gives_comfyuis_hidden_states_and_what_comfyui_lacks_the_pooled_embeds(comfyui, tmp_path):
    model, tensors = siglip()
    config = CONFIG | {
        "model_type": "siglip_vision_model", "hidden_act": "gelu_pytorch_tanh", "hidden_size": 768,
        "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12, "patch_size": 16,
        "image_size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    del config["projection_dim"]
    ours = load_openclip(save(tensors, tmp_path / "siglip.safetensors"), "auto", "auto", "fp32", "auto")
    images = pictures(1, 300)[:, :200]
    theirs = comfyui(config, tensors, torch.float32)
    for module in theirs.model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6  # SigLIP's; ComfyUI takes 1e-5 for everything
    mine, own = ours.encode_image(images), theirs.encode_image(images, crop=False)
    for key in KEYS[1:]:
        close(mine[key], own[key])
    with torch.no_grad():
        pixels = torch.nn.functional.interpolate(images.movedim(-1, 1), (224, 224), mode="bicubic", antialias=True)
        pixels = (pixels.clamp(0, 1) * 255).round() / 255
        expected = model((pixels - 0.5) / 0.5).pooler_output
    close(mine["image_embeds"], expected)
    assert mine["image_embeds"].shape == (1, 768)


def test_pictures_are_cropped_or_stretched_as_asked(tmp_path):
    file = save(small_openclip().state_dict(), tmp_path / "encoder.safetensors")
    wide = pictures(1, 64)[:, :32]  # as high as the encoder's own size, so that nothing is resized
    middle = wide[:, :, 16:48]
    crop, stretch = (load_openclip(file, "auto", "auto", "fp32", fit) for fit in ("crop", "stretch"))
    seen = {name: v.encode_image(wide)["image_embeds"] for name, v in (("crop", crop), ("stretch", stretch))}
    assert seen["crop"].equal(crop.encode_image(middle)["image_embeds"])
    assert not seen["crop"].allclose(seen["stretch"])
    assert stretch.encode_image(wide, crop=True)["image_embeds"].equal(seen["crop"])  # a node's own wish comes first


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_text_tower_gives_what_open_clip_gives(precision, tmp_path):
    model = small_openclip()
    dtype = PRECISIONS[precision](torch.device("cpu"))
    for parameter in model.parameters():  # the values that are left in this precision, calculated with in 32 bits
        parameter.data = parameter.data.to(dtype).float()
    file = save(model.state_dict(), tmp_path / "encoder.safetensors", dtype)
    text = load_openclip(file, "auto", "auto", precision, "auto").text
    assert text is not None
    with torch.no_grad():
        expected = model.encode_text(open_clip.tokenize(["a cat", "a sofa in a room"]))
    close(text.encode_text(["a cat", "a sofa in a room"]), expected)


def test_layers_can_stay_out_of_the_gpus_memory(tmp_path):
    """What ComfyUI needs to leave a layer where it is and bring it in when it is used."""
    vision = load_openclip(
        save(small_openclip().state_dict(), tmp_path / "encoder.safetensors"), "auto", "auto", "fp16", "auto"
    )
    for model in (vision.model, vision.text.model):
        cast = sum(
            p.numel() for m in model.modules() if getattr(m, "comfy_cast_weights", False) for p in m.parameters(False)
        )
        assert cast > 0.9 * sum(parameter.numel() for parameter in model.parameters())


def test_errors_name_the_file(tmp_path):
    file = save({"weight": torch.zeros(1)}, tmp_path / "no encoder.safetensors")
    with pytest.raises(AdapterError, match="^no encoder.safetensors: This is no vision encoder"):
        load_openclip(file, "auto", "auto", "fp32", "auto")

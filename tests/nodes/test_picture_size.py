"""Adapters that were trained with larger pictures than their encoder takes, and one whose encoder nobody can read."""

from typing import Any

import pytest
import torch

pytest.importorskip("comfy.clip_vision", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import judge
import synthetic
from openclip.files import close, save, small_openclip, transformers_clip
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.errors import EncoderMismatchError
from pack.nodes.applying.encoding import Reference, encode_reference, vision_encoder
from pack.nodes.loading.adapters import Pipeline, manage
from pack.nodes.loading.openclip import load_openclip
from pack.nodes.loading.picture_size import Resized
from test_nodes_pack.standins import tiny_clip_vision, tiny_siglip

SIDE, HIDDEN, POOLED = 448, 64, 48


def pictures(side: int) -> torch.Tensor:
    """Pictures of whole 8-bit values, which the encoders' rounding leaves as they are."""
    return torch.randint(0, 256, (2, side, side, 3), generator=torch.Generator().manual_seed(5)) / 255


def judged(clip: Any, images: torch.Tensor, vision: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled and penultimate embeds by transformers, with its own interpolation of positions."""
    mean, std = (torch.tensor(values) for values in (vision.image_mean, vision.image_std))
    with torch.no_grad():
        seen = clip(
            pixel_values=((images - mean) / std).movedim(-1, 1), output_hidden_states=True,
            interpolate_pos_encoding=True,
        )  # fmt: skip
        return seen.image_embeds if hasattr(seen, "image_embeds") else seen.pooler_output, seen.hidden_states[-2]


def transformers_of(clip_vision: Any) -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=HIDDEN, intermediate_size=2 * HIDDEN, num_hidden_layers=3, num_attention_heads=2, hidden_act="gelu",
        image_size=clip_vision.image_size, patch_size=14, projection_dim=POOLED,
    )  # fmt: skip
    model = CLIPVisionModelWithProjection(config).eval()
    missing = model.load_state_dict(clip_vision.get_sd(), strict=False).missing_keys
    assert [key for key in missing if not key.endswith("position_ids")] == []
    return model


@pytest.mark.parametrize("side", [SIDE, 112])
def test_embeds_of_pictures_of_another_size_are_those_of_transformers_and_the_encoder_stays_as_it_was(side):
    clip_vision, own = tiny_clip_vision(3, HIDDEN, POOLED, 224), pictures(224)
    state = {key: tensor.clone() for key, tensor in clip_vision.get_sd().items()}
    before = clip_vision.encode_image(own)
    features = vision_encoder(clip_vision, side=side).encode(images := pictures(side))
    pooled, hidden = judged(transformers_of(clip_vision), images, clip_vision)
    torch.testing.assert_close(features.pooled, pooled, rtol=1e-4, atol=1e-4)  # other attention kernels
    torch.testing.assert_close(features.hidden, hidden, rtol=1e-4, atol=1e-4)
    assert features.hidden.shape[1] == (side // 14) ** 2 + 1 and clip_vision.image_size == 224
    assert all(torch.equal(tensor, state[key]) for key, tensor in clip_vision.get_sd().items())
    assert torch.equal(clip_vision.encode_image(own)["image_embeds"], before["image_embeds"])
    assert vision_encoder(clip_vision, side=224).key != vision_encoder(clip_vision, side=side).key


def test_an_encoder_of_the_openclip_loader_takes_other_sizes_too(tmp_path):
    model = small_openclip()
    encoder = load_openclip(save(model.state_dict(), tmp_path / "a.safetensors"), "auto", "gelu", "fp32", "auto")
    clip = transformers_clip(model.state_dict())
    features = vision_encoder(encoder, side=64).encode(images := pictures(64))
    vision = judged(clip.vision_model, images, encoder)
    close(features.hidden, vision[1])
    close(features.pooled, clip.visual_projection(vision[0]).detach())


def test_encoders_without_such_positions_and_sizes_of_no_whole_patches_are_refused():
    with pytest.raises(EncoderMismatchError, match="only the position embeddings of CLIP encoders"):
        Resized(tiny_siglip(3), SIDE)
    with pytest.raises(EncoderMismatchError, match="cannot cut into whole patches of 14"):
        Resized(tiny_clip_vision(3, HIDDEN, POOLED, 224), 450)


def pipeline(name: str, state: Any = None) -> Pipeline:
    state = state or synthetic.adapter("SDXL", context=2048, channels=synthetic.sdxl_channels(8, (1, 2)), pooled=POOLED)
    return Pipeline(manage(read_checkpoint(state, name)), tiny_clip_vision(3, HIDDEN, POOLED, 224))


def test_style_for_noobai_is_told_by_its_name_and_sees_pictures_of_448_pixels():
    reference = Reference(images=pictures(500))
    for name, side in (("styleIpadapterFor_v10.safetensors", SIDE), ("ip-adapter_sdxl.safetensors", 224)):
        used = pipeline(name)
        embeds = encode_reference(used, reference)
        expected = vision_encoder(used.clip_vision, side=side).encode(pictures(500)).pooled
        assert torch.equal(embeds.positive, expected) and not embeds.negative.any(), name


def test_a_connected_encoder_of_another_picture_size_than_the_adapter_s_is_said_once(caplog):
    """Of the same width: a ViT-L of 224 pixels beside one of 336. Loaders pass such an encoder over."""
    state = synthetic.adapter("standard", context=768, channels=synthetic.sd15_channels(8), pooled=1024)
    adapter = manage(read_checkpoint(state, "ip-adapter_sd15.safetensors"))
    for side, said in ((112, 1), (224, 0)):
        used = Pipeline(adapter, tiny_clip_vision(3, 32, 1024, side))
        encode_reference(used, Reference(images=pictures(side), negative=pictures(side)))
        line = f"takes pictures of {side} pixels, and ip-adapter_sd15.safetensors was trained with CLIP ViT-H/14"
        assert caplog.text.count(line) == said and caplog.text.count("trained with") == said
        caplog.clear()
    encode_reference(used, Reference(embeds=torch.ones(1, 1024)))
    sdxl = synthetic.adapter("SDXL", context=2048, channels=synthetic.sdxl_channels(8, (1, 2)), pooled=1280)
    style = manage(read_checkpoint(sdxl, "styleIpadapterFor_v10.safetensors"))
    encode_reference(Pipeline(style, tiny_clip_vision(3, 32, 1280, 112)), Reference(images=pictures(SIDE)))
    assert "trained with" not in caplog.text


@pytest.fixture(scope="module")
def art() -> tuple[dict[str, torch.Tensor], Any]:
    """What diffusers' UNet has of an adapter, and the published layout that diffusers read it from."""
    unet = judge.tiny_unet("sdxl shallow")
    nested = synthetic.adapter("SDXL", seed=3, context=2048, channels=judge.channels_of(unet), pooled=POOLED)
    judge.load(unet, [nested])
    kept = {key: tensor for key, tensor in unet.state_dict().items() if "_ip." in key or "encoder_hid_proj" in key}
    return kept, nested


def test_an_adapter_in_diffusers_names_is_the_same_adapter(art):
    kept, nested = art
    wanted = read_checkpoint(nested, "ip-adapter_sdxl.safetensors")
    for prefix in ("", "module.", "unet."):  # checkpoints of training
        found = read_checkpoint({prefix + key: tensor for key, tensor in kept.items()}, "mine.pth")
        assert found.config.variant == "IP-Adapter-Art" and found.config.channels == wanted.config.channels
        for group in ("image_proj", "ip_adapter"):
            one, other = getattr(found, group), getattr(wanted, group)
            assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), group


def test_ip_adapter_art_follows_embeds_and_refuses_pictures_since_its_encoder_cannot_be_read(art):
    used = pipeline("ip_adapter_art_sdxl_512.pth", art[0])
    assert pipeline("ip_adapter_art_sdxl_512.safetensors").adapter.config.variant == "IP-Adapter-Art"
    with pytest.raises(EncoderMismatchError, match=r"vision encoder CSD \(csd_clip.pth\).*with IPAdapter Embeds"):
        encode_reference(used, Reference(images=pictures(224)))
    embeds = encode_reference(used, Reference(embeds=torch.ones(1, POOLED)))
    assert used.adapter.network.project(embeds.positive).shape == (1, 4, 2048)

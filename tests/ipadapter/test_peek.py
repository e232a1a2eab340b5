"""What a file is, told by its header: real headers of published files, and layouts with the same keys."""

import zipfile
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import published_headers as headers
import synthetic
from pack.ipadapter.checkpoint import read_checkpoint, read_file
from pack.ipadapter.errors import CheckpointError
from pack.ipadapter.names import name_with_folder
from pack.ipadapter.other_files import other_file
from pack.ipadapter.peek import EncoderSizes, facts_of, peek, peek_adapter

SMALL = {"channels": synthetic.sd15_channels(8), "face_hidden": 16, "rank": 2}
VIT_H, VIT_G, VIT_L, SIGLIP = (1024, 1280, 257), (1280, 1664, 257), (768, 1024, 257), (1152, 1152, 729)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_an_adapter_is_told_in_every_format_without_reading_its_values(tmp_path, suffix):
    path = tmp_path / f"faceid{suffix}"
    nested = synthetic.adapter("FaceID", **SMALL, dtype=torch.float16)
    if suffix == ".pt":
        torch.save(nested, path, _use_new_zipfile_serialization=False)  # as files before 2020 were written
    else:
        synthetic.save(nested, path)
    config = peek_adapter(path)
    assert config is not None and (config.variant, config.family, config.has_lora) == ("FaceID", "sd15", True)
    values = list(peek(path).values())
    tensors = values if suffix == ".safetensors" else [tensor for group in values for tensor in group.values()]
    assert {(tensor.device.type, tensor.dtype) for tensor in tensors} == {("meta", torch.float16)}
    assert str(facts_of(path)) == "FaceID for sd15"


def test_real_files_are_told_by_their_headers(tmp_path):
    expected = {
        "standard": "standard for sd15", "plus_face": "plus face for sd15", "xlabs_v1": "XLabs Flux for flux",
        "xlabs_v2": "XLabs Flux v2 for flux", "clip_l": VIT_L, "ip_adapter_sd1_encoder": VIT_H, "siglip": SIGLIP,
    }  # fmt: skip
    for name, what in expected.items():
        facts = facts_of(headers.save(headers.real(name), tmp_path / f"ip-adapter-{name}.safetensors"))
        assert (str(facts) if isinstance(what, str) else facts.encoder) == (
            what if isinstance(what, str) else EncoderSizes(*what)
        ), name


def test_an_openclip_file_is_told_by_its_vision_tower_whatever_its_text_tower_is(tmp_path):
    for sizes in (VIT_H, VIT_G, (768, 1024, 577)):
        header = headers.openclip(*sizes)
        for path in (headers.save(header, tmp_path / f"{sizes}.safetensors"),
                     headers.save_pickle(header, tmp_path / f"{sizes}.bin")):  # fmt: skip
            assert facts_of(path).encoder == EncoderSizes(*sizes), path.name


def others() -> dict[str, headers.Header]:
    """A header for every sort of file that is named; of most the keys that only they have."""

    def of(*keys: str) -> headers.Header:
        return {key: headers.meta(4, 4) for key in keys}

    return {
        "PuLID for SDXL": headers.pulid_v1(), "PuLID for SDXL ": headers.pulid_v1(converted=True),
        "PuLID v1.1 for SDXL": headers.pulid_former(flux=False), "PuLID for Flux": headers.pulid_former(flux=True),
        "Flux Redux, a style model": of("redux_up.weight", "redux_up.bias", "redux_down.weight"),
        "a whole Flux model": of("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"),
        "a whole Flux model ": of("model.diffusion_model.double_blocks.0.img_attn.qkv.weight"),
        "a ControlNet": of("control_model.input_blocks.0.0.weight"),
        "a ControlNet ": of("controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"),
        "a ControlNet  ": of("controlnet_blocks.0.weight", "double_blocks.0.img_attn.qkv.weight"),
        "a LoRA": of("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"),
        "a LoRA ": of("transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight"),
        "a whole diffusion checkpoint": of(
            "model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in"
        ),
        "an adapter with diffusers' names of a UNet, incomplete or with another projection than IP-Adapter-Art's": of(
            "encoder_hid_proj.image_projection_layers.0.latents",
            "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k_ip.0.weight",
        ),
        "llava's vision encoder": of("vision_model.embeddings.class_embedding", "multi_modal_projector.linear_1.bias"),
        "a vision encoder of OpenCLIP with timm's names": of(
            "visual.trunk.pos_embed", "text.positional_embedding", "visual.trunk.blocks.0.attn.qkv.weight"
        ),
        "a DINO encoder": of("encoder.layer.23.layer_scale2.lambda1", "embeddings.cls_token"),
        "a DINO encoder ": of("embeddings.register_tokens", "layer.0.layer_scale1.lambda1"),
        "a vision encoder with timm's own names": of("patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
        "a vision encoder with timm's own names ": of("stem.0.weight", "stages.0.blocks.0.conv_dw.weight"),
        "a vision encoder of OpenCLIP without the prefix 'visual.' that loaders look for": headers.openclip(
            *VIT_H, prefix=""
        ),
        "CSD, the encoder of IP-Adapter-Art, which no loader reads": of(
            "module.backbone.conv1.weight", "module.last_layer_style", "module.last_layer_content"
        ),
        "Wan's CLIP with its authors' names, which Load CLIP Vision does not read": of(
            "visual.cls_embedding", "visual.transformer.0.attn.to_qkv.weight", "textual.token_embedding.weight"
        ),
        "a CLIP vision encoder without the projection of its pooled embeds": of(
            "vision_model.embeddings.class_embedding", "vision_model.embeddings.position_embedding.weight"
        ),
    }  # fmt: skip


def test_files_of_other_packs_are_named_as_what_they_are(tmp_path):
    for number, (title, header) in enumerate(others().items()):
        for path in (headers.save(header, tmp_path / f"{number}.safetensors"),
                     headers.save_pickle(header, tmp_path / f"{number}.bin")):  # fmt: skip
            facts = facts_of(path)
            assert str(facts) == title.strip() and facts.adapter is None and facts.encoder is None, path.name
            with pytest.raises(CheckpointError, match="no adapter that can be used"):
                read_checkpoint(header, path.name)


def test_the_message_of_a_loader_names_the_file_and_the_loader_that_it_is_for():
    for header, words in (
        (headers.pulid_former(flux=True), "It looks like PuLID for Flux: load it with a PuLID Flux loader"),
        (headers.pulid_v1(converted=True), "It looks like PuLID for SDXL: load it with a PuLID loader"),
    ):
        with pytest.raises(CheckpointError, match=words):
            read_checkpoint(header, "mine.safetensors")
    assert other_file(["nobody.knows.this"]) is None


def test_adapters_that_only_names_tell_apart_are_told_through_spaces_dots_and_folders(tmp_path):
    plus: dict[str, Any] = dict(context=768, dim=64, heads=1, depth=1, channels=synthetic.sd15_channels(8))
    unnorm: dict[str, Any] = dict(context=2048, dim=64, heads=1, depth=1, channels=synthetic.sdxl_channels(8, (1, 2)))
    half, whole = torch.float16, torch.float32
    expected = {
        "Face Reference (IP Adapter Plus Face).safetensors": ("plus", half, "plus face"),
        "ip_adapter_plus_face_sd15/ip_adapter.bin": ("plus", half, "plus face"),
        "ip.plus.composition.sd15.safetensors": ("plus", half, "composition"),
        "IPAdapter Plus Composition/model.safetensors": ("plus", half, "composition"),
        "ip-adapter-plus_sd15.safetensors": ("plus", half, "plus"),
        "faces/ip-adapter-plus_sd15.safetensors": ("plus", half, "plus"),
        "ip adapter sd15 light.safetensors": ("standard", half, "light"),
        "lightning.safetensors": ("standard", half, "standard"),
        "ip-adapter.bin": ("FaceID portrait unnorm", half, "InstantID"),
        "instantid/SDXL/ip-adapter.bin": ("FaceID portrait unnorm", half, "InstantID"),
        "instantid/mine.safetensors": ("FaceID portrait unnorm", half, "InstantID"),
        "instantid/SDXL/mine.bin": ("FaceID portrait unnorm", half, "InstantID"),
        "instantid/ip-adapter-faceid-portrait_sdxl_unnorm.bin": (
            "FaceID portrait unnorm",
            half,
            "FaceID portrait unnorm",
        ),
        "face.safetensors": ("FaceID portrait unnorm", whole, "InstantID"),
        "face.bin": ("FaceID portrait unnorm", half, "FaceID portrait unnorm"),
        "ip-adapter-faceid-portrait_sdxl_unnorm.bin": ("FaceID portrait unnorm", whole, "FaceID portrait unnorm"),
    }
    wrong = {}
    for number, (name, (variant, dtype, label)) in enumerate(expected.items()):
        path = tmp_path / str(number) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes = unnorm if "unnorm" in variant else plus
        synthetic.save(synthetic.adapter(variant, dtype=dtype, **sizes), path)
        found = peek_adapter(path)
        if found is None or found.variant != label:
            wrong[name] = found and found.variant
        loaded = read_checkpoint(synthetic.adapter(variant, dtype=dtype, **sizes), name_with_folder(path))
        assert loaded.config.variant == label, name
    assert wrong == {}


def test_damaged_and_empty_files_and_pickles_of_programs_are_not_understood(tmp_path):
    torch.save({"image_proj": print}, tmp_path / "evil.bin")
    for number, content in enumerate((b"", b"half a download", b"\x80\x02}q\x00.")):
        for suffix in ("safetensors", "bin"):
            (tmp_path / f"{number}.{suffix}").write_bytes(content)
    for path in tmp_path.iterdir():
        assert peek(path) == {} and str(facts_of(path)) == "not understood", path.name


def test_exported_programs_as_openai_publishes_its_clip_are_refused_as_what_they_are(tmp_path):
    """The entries by which PyTorch tells its own archives; torch.jit and torch.export write them."""
    for name, entry in {"ViT-L-14.pt": "ViT-L-14/constants.pkl", "exported.pt2": "exported/archive_format"}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(entry, b"")
        assert peek(tmp_path / name) == {}
        with pytest.raises(CheckpointError, match="is a program that PyTorch exported, and programs in model"):
            read_file(tmp_path / name)


def test_an_adapter_in_whole_numbers_is_refused_by_its_header_as_by_the_loader(tmp_path):
    flat = synthetic.flat(synthetic.adapter("standard", channels=synthetic.sd15_channels(8)))
    eights = {key: tensor.to(torch.int8) for key, tensor in flat.items()}
    save_file(eights, tmp_path / "int8.safetensors")
    facts = facts_of(tmp_path / "int8.safetensors")
    assert facts.adapter is None and "does not hold floating point numbers" in facts.fault
    with pytest.raises(CheckpointError, match="does not hold floating point numbers"):
        read_checkpoint(eights, "int8.safetensors")

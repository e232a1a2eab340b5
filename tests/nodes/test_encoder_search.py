"""The encoder for an adapter, among files with the headers of published ones: by all sizes, then by name."""

from pathlib import Path

import pytest

pytest.importorskip("comfy_api.latest", reason="needs ComfyUI; set COMFYUI_PATH")

import published_headers as headers
import synthetic
import synthetic_transformers
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.loading.search import find_encoder

VIT_H, VIT_G, VIT_L, VIT_L_336 = (1024, 1280, 257), (1280, 1664, 257), (768, 1024, 257), (768, 1024, 577)


def refused(find_it) -> str:
    with pytest.raises(FileNotFoundError) as error:
        find_it()
    return str(error.value)


def config_of(variant, **sizes):
    channels = [1] * 16
    return read_checkpoint(synthetic.adapter(variant, channels=channels, device="meta", **sizes), "an adapter").config


def encoder(config):
    return find_encoder(config, "an adapter").name


def test_an_encoder_has_all_sizes_of_the_published_one_whatever_lies_beside_it(models):
    place = models / "clip_vision"
    kolors = config_of("Kolors plus", context=2048, hidden=1024)
    headers.save(headers.vision(*VIT_L), place / "clip-vit-large-patch14-336.safetensors")  # the name is wrong
    message = refused(lambda: encoder(kolors))
    assert "clip-vit-large-patch14-336.safetensors has 257 tokens a picture" in message
    assert "takes CLIP ViT-L/14 at 336 pixels" in message
    headers.save(headers.vision(*VIT_L_336), place / "a.safetensors")
    assert encoder(kolors) == "a.safetensors"


def test_openclip_s_own_files_are_taken_by_their_vision_towers(models):
    plus, sdxl = config_of("plus"), config_of("SDXL", context=2048, pooled=1280)
    headers.save(headers.openclip(*VIT_G, text=1280), models / "clip_vision" / "g.safetensors")
    headers.save(headers.openclip(*VIT_H), models / "clip_vision" / "h.safetensors")
    headers.save_pickle(headers.openclip(768, 1024, 257, text=768), models / "clip_vision" / "l.bin")
    assert (encoder(plus), encoder(sdxl)) == ("h.safetensors", "g.safetensors")
    (models / "clip_vision" / "h.safetensors").unlink()
    assert "pooled 1280, hidden 1664 wide, 257 tokens" in refused(lambda: encoder(plus))


def test_xlabs_and_sd35_take_the_published_number_of_tokens(models):
    xlabs, sd35 = (
        read_checkpoint(synthetic_transformers.adapter(kind, embed=width), "an adapter").config
        for kind, width in (("XLabs Flux", 768), ("InstantX SD3.5", 1152))
    )
    place = models / "clip_vision"
    headers.save(headers.vision(*VIT_L_336), place / "clip-vit-large-patch14.safetensors")
    headers.save(headers.siglip(1024), place / "sigclip_vision_patch14_384.safetensors")
    assert "has 577 tokens a picture" in refused(lambda: encoder(xlabs))
    assert "has 1024 tokens a picture" in refused(lambda: encoder(sd35))
    headers.save(headers.real("clip_l"), place / "l.safetensors")  # whole CLIP, with its text tower
    headers.save(headers.siglip(), place / "s.safetensors")
    assert (encoder(xlabs), encoder(sd35)) == ("l.safetensors", "s.safetensors")


def test_of_encoders_of_the_same_sizes_one_with_another_s_name_is_named_and_never_run(models):
    others = {
        "plus": "DFN5B-CLIP-ViT-H-14/model.safetensors", "InstantX SD3.5": "a/siglip2-so400m-patch14-384.safetensors",
        "XLabs Flux": "CLIP-ViT-L-14-laion2B-s32B-b82K.bin",
    }  # fmt: skip
    kinds = {"InstantX SD3.5": (1152, headers.siglip()), "XLabs Flux": (768, headers.vision(*VIT_L))}
    for kind, name in others.items():
        width, header = kinds.get(kind, (0, headers.vision(*VIT_H)))
        state = synthetic_transformers.adapter(kind, embed=width) if width else None
        config = read_checkpoint(state, "an adapter").config if state else config_of(kind)
        other = models / "clip_vision" / name
        (headers.save if name.endswith("safetensors") else headers.save_pickle)(header, other)
        assert f"{Path(name)} is another encoder, by its name, and the adapter takes" in refused(
            lambda config=config: encoder(config)
        )
        headers.save(header, models / "clip_vision" / "z.safetensors")
        assert encoder(config) == "z.safetensors"
        (models / "clip_vision" / "z.safetensors").unlink()
        other.unlink()


def test_an_encoder_that_nobody_published_is_taken_by_its_width(models):
    headers.save(headers.vision(48, 96, 50), models / "clip_vision" / "own.safetensors")
    assert encoder(config_of("plus", hidden=96)) == "own.safetensors"

"""Every kind of CLIP_VISION with every habit of adapters: masks, tiles, grey pictures, and what is read how often."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import folder_paths

import pack.nodes.host as running
import synthetic
from harness.in_process import following
from openclip.files import SMALL, save, small_openclip
from pack.encoders.siglip import KEYS
from pack.ipadapter import cache, checks
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.errors import EncoderMismatchError
from pack.nodes.apply_detail import IPAdapterClipVisionEnhancer, IPAdapterClipVisionEnhancerBatch
from pack.nodes.applying import caches
from pack.nodes.applying.encoding import Encoder, Reference, encode_reference, vision_encoder
from pack.nodes.embeds import encode
from pack.nodes.loading.adapters import LoadedAdapter, Pipeline, manage
from pack.nodes.loading.openclip import load_openclip
from test_nodes_pack import standins, unets
from transformer_rig import adapter as transformer_adapter, tiny_model

HIDDEN = 32  # width of tokens of the tiny encoders


@dataclass(frozen=True)
class Case:
    """An encoder, and an adapter that takes its embeds."""

    clip_vision: Any
    adapter: LoadedAdapter


def unet_adapter(variant: str, **width: int) -> LoadedAdapter:
    sizes: dict[str, Any] = {"context": 768, "dim": 64, "heads": 1, "depth": 1} | width
    state = synthetic.adapter(variant, seed=7, channels=synthetic.sd15_channels(32), **sizes)
    return manage(read_checkpoint(state, f"tiny {variant}"))


def head(width: int) -> dict[str, torch.Tensor]:
    """SigLIP's pooling head with random values, in the order of KEYS."""
    shapes = (
        (1, 1, width), (3 * width, width), (3 * width,), (width, width), (width,), (width,), (width,),
        (width, width), (width,), (width, width), (width,),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    return {key: torch.randn(shape, generator=generator) for key, shape in zip(KEYS, shapes, strict=True)}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """ComfyUI's CLIP and SigLIP, OpenCLIP's that crop or stretch; adapters that leave it to them, and that stretch."""
    folder = tmp_path_factory.mktemp("encoders")
    clip = standins.tiny_clip_vision(seed=3, hidden=64, projection=48, image_size=56)
    comfy_siglip, wider = (standins.tiny_siglip(seed=1, hidden=hidden) for hidden in (HIDDEN, 64))
    save_file(dict(comfy_siglip.get_sd()) | head(HIDDEN), folder / "siglip.safetensors")
    file = save(small_openclip().state_dict(), folder / "openclip" / "encoder.safetensors")
    cropped, stretched = (load_openclip(file, "auto", "auto", "fp32", fit) for fit in ("crop", "stretch"))
    squashed = save(small_openclip().state_dict(), folder / "squashed" / "encoder.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}  # as SigLIPs are published
    config = {"model_cfg": SMALL, "preprocess_cfg": preprocess}
    (squashed.parent / "open_clip_config.json").write_text(json.dumps(config))
    pooled, plus = unet_adapter("standard", pooled=48), unet_adapter("plus", hidden=64)
    of_openclip = unet_adapter("plus", hidden=128)
    patch = pytest.MonkeyPatch()
    patch.setitem(folder_paths.folder_names_and_paths, "clip_vision", ([str(folder)], {".safetensors"}))
    patch.setattr(folder_paths, "filename_list_cache", {})
    yield {
        "ComfyUI's CLIP, pooled": Case(clip, pooled),
        "ComfyUI's CLIP, tokens": Case(clip, plus),
        "ComfyUI's SigLIP, cropped": Case(comfy_siglip, unet_adapter("plus", hidden=HIDDEN)),
        "ComfyUI's SigLIP, InstantX Flux": Case(comfy_siglip, transformer_adapter("InstantX Flux")),
        "ComfyUI's SigLIP, InstantX SD3.5": Case(wider, transformer_adapter("InstantX SD3.5")),
        "OpenCLIP, its own crop": Case(cropped, of_openclip),
        "OpenCLIP, stretched by the loader": Case(stretched, of_openclip),
        "OpenCLIP, stretched as it was published": Case(
            load_openclip(squashed, "auto", "auto", "fp32", "auto"), of_openclip
        ),
    }
    patch.undo()


def picture(height: int, width: int, colours: int = 3, count: int = 1) -> torch.Tensor:
    return torch.rand(count, height, width, colours, generator=torch.Generator().manual_seed(0))


def test_a_white_mask_is_no_mask_and_a_black_one_shows_the_encoder_its_zero(cases):
    wrong = []
    for name, case in cases.items():
        for image in (picture(30, 90), picture(90, 30)):
            white = encode(case.adapter, image, 1.0, torch.ones(1, *image.shape[1:3]), case.clip_vision)
            if not white[0].equal(encode(case.adapter, image, 1.0, None, case.clip_vision)[0]):
                wrong.append(f"{name}, white, {tuple(image.shape)}")
            black = encode(case.adapter, image, 1.0, torch.zeros(30, 90), case.clip_vision)
            vision = vision_encoder(case.clip_vision)
            plain = torch.tensor(vision.mean).expand(1, vision.size, vision.size, 3)
            if not black[0].allclose(encode(case.adapter, plain, 1.0, None, case.clip_vision)[0], atol=1e-3):
                wrong.append(f"{name}, black, {tuple(image.shape)}")
    assert not wrong


def test_features_that_an_encoder_of_a_faulty_release_lacks_are_refused_by_name(cases, monkeypatch):
    """What a fault as that of ComfyUI 0.31 may do to the output of ComfyUI's own encoder."""
    case = cases["ComfyUI's CLIP, tokens"]
    own, pictures = case.clip_vision.encode_image, picture(30, 90, count=2)
    hidden = "penultimate_hidden_states"
    faults = {
        f"for 2 pictures it gave no {hidden}": (hidden, lambda x: None),
        f"for 2 pictures it gave {hidden} of shape (1, 17, 64)": (hidden, lambda x: x[:1]),
        "its image_embeds have values that are NaN or infinite": ("image_embeds", lambda x: x * float("nan")),
    }
    for release in (None, "0.31.0"):
        if release:
            checked = replace(running.running_host(), release=release)
            monkeypatch.setattr(running, "running_host", lambda checked=checked: checked)
        for told, (name, change) in faults.items():

            def faulty(image, crop=True, name=name, change=change):
                output = own(image, crop)
                output[name] = change(output[name])
                return output

            monkeypatch.setattr(case.clip_vision, "encode_image", faulty)
            caches.FEATURES.clear()
            with pytest.raises(EncoderMismatchError) as error:
                encode(case.adapter, pictures, 1.0, None, case.clip_vision)
            assert told in str(error.value)
            assert ("ComfyUI 0.31.0: its CLIP Vision encoders have a fault" in str(error.value)) == bool(release)


def test_half_a_mask_hides_half_of_what_the_encoder_sees_of_a_long_picture(cases):
    """The outer thirds of a 3:1 picture are cut off where the encoder crops, and squeezed in where it stretches."""
    image, middle = picture(30, 90), torch.zeros(1, 30, 90)
    middle[..., 30:60] = 1
    same = {
        name: torch.allclose(
            encode(case.adapter, image, 1.0, middle, case.clip_vision)[0],
            encode(case.adapter, image, 1.0, None, case.clip_vision)[0],
            atol=0.05,  # bicubic resizing darkens the cut edge of the mask
        )
        for name, case in cases.items()
    }
    stretching = [name for name in cases if "stretched" in name or "InstantX" in name]
    assert not any(same[name] for name in stretching)


def test_tiles_keep_the_number_of_tokens_of_every_encoder(cases):
    for case in cases.values():
        pipeline = Pipeline(case.adapter, case.clip_vision)
        for count, tiles in ((1, 2), (2, 2), (2, 3)):
            image = picture(60, 40, count=count)
            embeds = encode_reference(pipeline, Reference(image, tiles=tiles, tile_ratio=0.5)).positive
            assert embeds.shape == (2, *Encoder(pipeline)(image).shape[1:])


@pytest.mark.parametrize(("kind", "family"), [("InstantX Flux", "flux"), ("InstantX SD3.5", "sd3.5")])
def test_clipvision_enhancer_runs_with_siglip_at_its_defaults(cases, kind, family):
    case, model = cases[f"ComfyUI's SigLIP, {kind}"], tiny_model(family)
    socket = {"ipadapter": {"model": case.adapter}, "clipvision": {"model": case.clip_vision}}
    for node in (IPAdapterClipVisionEnhancer, IPAdapterClipVisionEnhancerBatch):
        for count in (1, 2):
            patched = node.execute(model=model, ipadapter=socket, image=picture(60, 90, count=count)).result[0]
            assert patched is not model


def test_grey_pictures_are_encoded_like_ones_of_three_equal_channels(cases):
    grey = picture(40, 60, colours=1)
    for name, case in cases.items():
        found, expected = (
            encode(case.adapter, image, 1.0, None, case.clip_vision)[0] for image in (grey, grey.repeat(1, 1, 1, 3))
        )
        assert found.equal(expected), name


def test_an_encoder_of_pictures_of_any_shape_is_refused():
    encoder = standins.tiny_siglip(seed=1)
    encoder.image_size = -1  # so ComfyUI marks SigLIP 2 NaFlex
    with pytest.raises(EncoderMismatchError, match="NaFlex"):
        vision_encoder(encoder)


@pytest.mark.parametrize("wrong", ["clip", torch.nn.Identity()], ids=repr)
def test_what_is_no_encoder_is_named(wrong):
    with pytest.raises(EncoderMismatchError, match=f"from a Load CLIP Vision, and got a {type(wrong).__name__}"):
        vision_encoder(wrong)


@pytest.fixture
def reads(monkeypatch):
    """Number of values that digests and scans for NaN read."""
    read: list[int] = []
    for owner, name in ((cache, "digest"), (checks, "extremes")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda x, real=real: (read.append(x.numel()), real(x))[1])
    return read


@pytest.mark.parametrize("inference", [False, True])
def test_an_apply_with_another_weight_reads_no_pixel(cases, reads, inference):
    """Neither of the picture, its embeds nor the black picture; ComfyUI's tensors are made in inference mode."""
    case, model = cases["ComfyUI's CLIP, tokens"], unets.tiny_model("sd15", seed=1)
    caches.forget()
    with torch.inference_mode(inference):
        image = picture(60, 60, count=3)
        following(model, case.adapter, Reference(image), case.clip_vision, weight=1.0)
        assert sum(reads) > 3 * image.numel()
        reads.clear()
        following(model, case.adapter, Reference(image), case.clip_vision, weight=0.5)
        assert reads == []
        image[1] = image[1].flip(1)
        pipeline = Pipeline(case.adapter, case.clip_vision)
        changed = encode_reference(pipeline, Reference(image)).positive
        assert sum(reads) >= 2 * image.numel(), "a picture that was mirrored in place is another one"
        caches.forget()
        assert encode_reference(pipeline, Reference(image.clone())).positive.equal(changed)

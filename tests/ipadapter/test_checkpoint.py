import logging
from typing import Any

import pytest
import torch

import synthetic
from pack.ipadapter.checkpoint import read_checkpoint, read_file
from pack.ipadapter.errors import CheckpointError

TINY: dict[str, Any] = dict(
    context=32, channels=[16, 32, 32], pooled=24, hidden=40, dim=32, face_hidden=20, depth=2, rank=4
)


def tiny(variant="standard", **sizes):
    return synthetic.adapter(variant, **TINY | sizes)


@pytest.mark.parametrize("file", synthetic.ZOO)
def test_every_file_of_the_zoo_is_told_by_its_shapes(file):
    variant, sizes = synthetic.ZOO[file]
    config = read_checkpoint(synthetic.adapter(variant, device="meta", **sizes), file).config
    sdxl = any(word in file.lower() for word in ("sdxl", "noob", "instantid", "styleip"))
    assert config.variant == variant
    assert config.family == ("kolors" if "Kolors" in file else "sdxl" if sdxl else "sd15")
    assert len(config.key_numbers) == (16 if config.family == "sd15" else 70)
    assert (
        config.embed_dim
        == {"pooled": sizes.get("pooled", 1024), "hidden": sizes.get("hidden", 1280), None: None}[config.takes]
    )
    assert config.has_lora == (variant in synthetic.WITH_LORA)


@pytest.mark.parametrize(
    ("file", "tokens", "heads", "takes", "face", "raw"),
    [
        ("ip-adapter_sd15.safetensors", 4, 0, "pooled", False, False),
        ("ip-adapter-plus_sd15.safetensors", 16, 12, "hidden", False, False),
        ("ip-adapter-plus_sdxl_vit-h.safetensors", 16, 20, "hidden", False, False),
        ("ip-adapter-full-face_sd15.safetensors", 0, 0, "hidden", False, False),
        ("ip-adapter-faceid_sd15.bin", 4, 0, None, True, False),
        ("ip-adapter-faceid-plusv2_sdxl.bin", 4, 32, "hidden", True, False),
        ("ip-adapter-faceid-portrait_sdxl.bin", 16, 0, None, True, False),
        ("ip-adapter-faceid-portrait_sdxl_unnorm.bin", 16, 20, None, True, True),
        ("Kolors-IP-Adapter-Plus.bin", 16, 12, "hidden", False, False),
        ("Kolors-IP-Adapter-FaceID-Plus.bin", 6, 64, "hidden", True, False),
    ],
)
def test_sizes_of_published_files(file, tokens, heads, takes, face, raw):
    variant, sizes = synthetic.ZOO[file]
    config = read_checkpoint(synthetic.adapter(variant, device="meta", **sizes), "renamed").config
    resampler = config.projection.resampler
    found = (resampler.heads, resampler.depth) if resampler else (0, 0)
    assert (config.tokens, *found, config.takes, config.needs_face, config.raw_face) == (
        tokens,
        heads,
        4 if heads else 0,
        takes,
        face,
        raw,
    )


LAYOUTS = {
    "nested": lambda nested: nested,
    "flat": synthetic.flat,
    "flat, adapter_modules": lambda nested: synthetic.flat(nested, ip_adapter="adapter_modules"),
    "nested, adapter_modules": lambda nested: {
        "image_proj": nested["image_proj"],
        "adapter_modules": nested["ip_adapter"],
    },
    "training": lambda nested: (
        synthetic.flat(nested, "image_proj_model", "adapter_modules") | {"unet.a": torch.ones(1)}
    ),
    "in a wrapper": lambda nested: {"state_dict": nested},
    "under one prefix": lambda nested: {f"module.{k}": v for k, v in synthetic.flat(nested).items()},
    "layers without a group": lambda nested: {"image_proj": nested["image_proj"]} | nested["ip_adapter"],
    "with notes": lambda nested: nested | {"epoch": 3, "faceidplusv2": False},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variant", ["standard", "plus", "FaceID Plus V2"])
def test_every_layout_reads_alike(variant, layout):
    nested = tiny(variant)
    checkpoint = read_checkpoint(LAYOUTS[layout](nested), "a.bin")
    plain = read_checkpoint(nested, "a.bin")
    assert checkpoint.config == plain.config
    assert checkpoint.image_proj.keys() == nested["image_proj"].keys()
    assert checkpoint.ip_adapter.keys() | checkpoint.lora.keys() == nested["ip_adapter"].keys()
    assert bool(checkpoint.lora) == (variant == "FaceID Plus V2")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_files_read_back_as_they_were_written(tmp_path, suffix):
    nested = tiny("plus")
    path = synthetic.save(nested, tmp_path / f"a{suffix}", {"variant": "plus"} if suffix == ".safetensors" else None)
    checkpoint = read_checkpoint(*read_file(path)[:1], path.name)
    assert all(torch.equal(checkpoint.image_proj[key], tensor) for key, tensor in nested["image_proj"].items())


def test_reading_changes_nothing_in_what_was_given():
    flat = synthetic.flat(tiny())
    before = dict(flat)
    read_checkpoint(flat, "a.safetensors")
    assert flat.keys() == before.keys() and all(flat[key] is before[key] for key in before)


@pytest.mark.parametrize(
    ("how", "name", "metadata", "shortcut", "expected", "source"),
    [
        ("name", "ip-adapter-faceid-plusv2_sd15.bin", {}, None, True, "file name"),
        ("name, v1", "ip-adapter-faceid-plus_sd15.bin", {}, None, False, "file name"),
        (
            "a folder called plusv2 does not count",
            "plusv2/ip-adapter-faceid-plus_sd15.bin",
            {},
            None,
            False,
            "file name",
        ),
        ("its folder, if many repositories use the name", "faceid-plusv2_sd15/ip-adapter.bin", {}, None, True, "name"),
        ("metadata before the name", "faceid-plus.safetensors", {"title": "FaceID-PlusV2"}, None, True, "metadata"),
        ("an argument before both", "faceid-plus.safetensors", {"title": "FaceID Plus"}, True, True, None),
        ("nothing tells", "my face.bin", {}, None, False, "assumed"),
    ],
)
def test_v2_is_told_by_argument_metadata_or_name(how, name, metadata, shortcut, expected, source, caplog):
    caplog.set_level(logging.INFO)
    config = read_checkpoint(tiny("FaceID Plus"), name, metadata, shortcut).config
    assert config.shortcut is expected, how
    assert config.variant == ("FaceID Plus V2" if expected else "FaceID Plus")
    assert source is None or source in caplog.text


def test_the_mark_of_another_loader_tells_v2():
    assert read_checkpoint(tiny("FaceID Plus") | {"faceidplusv2": True}, "model").config.shortcut


def test_for_sdxl_only_v2_exists():
    nested = synthetic.adapter("FaceID Plus V2", device="meta", context=2048)
    assert read_checkpoint(nested, "renamed.bin").config.shortcut


def test_shortcut_means_nothing_to_other_kinds():
    assert not read_checkpoint(tiny("FaceID"), "plusv2.bin", shortcut=True).config.shortcut


def test_name_refines_the_label_and_nothing_else():
    nested = tiny("plus")
    plain, named = (read_checkpoint(nested, name).config for name in ("a.bin", "ip_plus_composition_sd15.bin"))
    assert (plain.variant, named.variant) == ("plus", "composition")
    assert plain.projection == named.projection and plain.channels == named.channels


def without(nested, group, *fragments):
    kept = {k: v for k, v in nested[group].items() if not any(f in k for f in fragments)}
    return nested | {group: kept}


def changed(nested, group, key, tensor):
    return nested | {group: nested[group] | {key: tensor}}


BROKEN = {
    "empty": (lambda: {}, "no image_proj and no ip_adapter.*found no tensors"),
    "a list": (lambda: [torch.ones(1)], "holds a list"),
    "a LoRA": (lambda: {"lora_unet_down_blocks_0.lora_down.weight": torch.ones(4, 4)}, "looks like a LoRA"),
    "a checkpoint": (lambda: {"model.diffusion_model.out.2.bias": torch.ones(4)}, "whole diffusion checkpoint"),
    "a CLIP": (lambda: {"vision_model.post_layernorm.bias": torch.ones(4)}, "CLIP vision encoder"),
    "an adapter for Flux": (
        lambda: {"image_proj": tiny()["image_proj"], "ip_adapter": {"double_blocks.0.to_k.weight": torch.ones(4, 4)}},
        "ip_adapter group holds double_blocks",
    ),
    "only the projection": (lambda: {"image_proj": tiny()["image_proj"]}, "no ip_adapter"),
    "only the layers": (lambda: {"ip_adapter": tiny()["ip_adapter"]}, "no image_proj"),
    "K without V": (lambda: without(tiny(), "ip_adapter", "3.to_v_ip"), "cross-attention 3 needs to_k_ip and to_v_ip"),
    "a layer missing": (lambda: without(tiny(), "ip_adapter", "3."), r"numbered \[1, 5\]"),
    "even layers": (lambda: tiny() | {"ip_adapter": {"2.to_k_ip.weight": torch.ones(4, 4)}}, r"numbered \[2\]"),
    "an unknown tensor among the layers": (
        lambda: changed(tiny(), "ip_adapter", "1.to_x.weight", torch.ones(4, 4)),
        "holds 1.to_x.weight",
    ),
    "V of another shape": (
        lambda: changed(tiny(), "ip_adapter", "1.to_v_ip.weight", torch.ones(16, 31)),
        r"to_v_ip \(16, 31\)",
    ),
    "layers of two widths": (
        lambda: changed(
            changed(tiny(), "ip_adapter", "1.to_v_ip.weight", torch.ones(16, 31)),
            "ip_adapter",
            "1.to_k_ip.weight",
            torch.ones(16, 31),
        ),
        r"different widths \[31, 32\]",
    ),
    "projection for another width": (
        lambda: {"image_proj": tiny(context=64)["image_proj"], "ip_adapter": tiny()["ip_adapter"]},
        "tokens 64 wide, its layers read 32",
    ),
    "an unknown projection": (lambda: tiny() | {"image_proj": {"mlp.weight": torch.ones(2, 2)}}, "has none of"),
    "half a resampler": (lambda: without(tiny("plus"), "image_proj", "layers.1.1"), "layers.1.1.0.bias should be"),
    "no resampler at all": (lambda: without(tiny("plus"), "image_proj", "layers."), "to_q.weight is missing"),
    "a resampler with a tensor too many": (
        lambda: changed(tiny("plus"), "image_proj", "pos_emb.weight", torch.ones(2, 2)),
        "pos_emb.weight should be nothing",
    ),
    "heads of another width": (
        lambda: changed(tiny("plus"), "image_proj", "layers.0.0.to_q.weight", torch.ones(40, 32)),
        "no multiple of 64",
    ),
    "a cut matrix": (
        lambda: changed(tiny(), "image_proj", "proj.weight", torch.ones(100, 24)),
        r"proj.bias should be \(96,\), found \(128,\)",
    ),
    "an empty matrix": (lambda: changed(tiny(), "image_proj", "proj.weight", torch.ones(0, 24)), r"shape \(0, 24\)"),
    "integers": (
        lambda: changed(tiny(), "image_proj", "proj.bias", torch.ones(128, dtype=torch.int8)),
        "floating point",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_anything_else_is_refused_with_what_was_found(case):
    make, message = BROKEN[case]
    with pytest.raises(CheckpointError, match=message) as error:
        read_checkpoint(make(), "broken.bin")
    assert str(error.value).startswith("broken.bin") and "image_proj and ip_adapter" in str(error.value)


@pytest.mark.parametrize("lost", ["3.to_q_lora.up", "0.to_out_lora.down"])
def test_an_adapter_whose_lora_is_not_complete_is_read_and_says_so(lost, caplog):
    checkpoint = read_checkpoint(without(tiny("FaceID"), "ip_adapter", lost), "cut.bin")
    whole = read_checkpoint(tiny("FaceID"), "cut.bin")
    assert not checkpoint.config.has_lora and checkpoint.config.variant == whole.config.variant == "FaceID"
    assert checkpoint.config.lora_fault == f"attention {lost.partition('_lora')[0]} is not complete"
    assert f"cut.bin: the LoRA in it cannot be used: {checkpoint.config.lora_fault}" in caplog.text
    assert whole.config.has_lora and not whole.config.lora_fault


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_truncated_file_is_refused_by_name(tmp_path, suffix):
    path = synthetic.save(tiny(), tmp_path / f"cut{suffix}")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=f"cut{suffix} cannot be read.*Download it again"):
        read_file(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"Download it again\. \(\w+"):  # torch's own message is empty
        read_file(path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"image_proj": Harmful()}, tmp_path / "a.bin")
    with pytest.raises(CheckpointError, match="a.bin cannot be read"):
        read_file(tmp_path / "a.bin")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.safetensors"):
        read_file(tmp_path / "gone.safetensors")

"""Adapters for diffusion transformers are told by their tensors, in every published layout."""

import pytest
import torch

import synthetic
import synthetic_transformers as synthetic_dit
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.errors import CheckpointError
from pack.ipadapter.mechanisms import published_names
from pack.ipadapter.projecting import encoder_for


@pytest.mark.parametrize("name", synthetic_dit.PUBLISHED)
def test_the_published_sizes_are_read(name):
    sizes = dict(synthetic_dit.PUBLISHED[name])
    kind = sizes.pop("kind")
    config = read_checkpoint(synthetic_dit.adapter(kind, device="meta", **sizes), name).config
    assert config.variant == kind
    assert config.family == ("sd3.5" if kind == "InstantX SD3.5" else "flux")
    assert config.tokens == sizes["tokens"]
    assert config.key_numbers == tuple(range(sizes["blocks"]))
    assert set(config.channels) == {sizes["channels"]}
    assert config.embed_dim == sizes["embed"]
    assert config.takes == ("hidden" if kind == "InstantX SD3.5" else "pooled")


@pytest.mark.parametrize(
    ("name", "parameters"),  # published file sizes / 2 bytes, from the specification of the files
    [
        ("ip_adapter.safetensors", 490.9),
        ("flux-ip-adapter-v2.safetensors", 528.7),
        ("flux.1-dev-ip-adapter.bin", 2645.6),
        ("sd3.5-large-ip-adapter.bin", 797.9),
    ],
)
def test_the_network_has_as_many_parameters_as_the_published_file(name, parameters):
    sizes = dict(synthetic_dit.PUBLISHED[name])
    checkpoint = read_checkpoint(synthetic_dit.adapter(sizes.pop("kind"), device="meta", **sizes), name)
    network = AdapterNetwork(checkpoint.config, device="meta")
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(parameters, abs=0.05)


def test_both_layouts_of_sd35_are_one_adapter():
    nested = synthetic_dit.adapter("InstantX SD3.5")
    first = read_checkpoint(nested, "ip-adapter.bin")
    second = read_checkpoint(synthetic_dit.in_diffusers_names(nested), "ip-adapter_diffusers.safetensors")
    assert first.config == second.config
    for group in ("image_proj", "ip_adapter"):
        ours, theirs = getattr(first, group), getattr(second, group)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_names_of_a_unets_adapter_stay():
    flat = synthetic.flat(synthetic.adapter("plus", device="meta"))
    assert list(published_names(flat)) == list(flat)


@pytest.mark.parametrize("kind", synthetic_dit.KINDS)
def test_a_missing_tensor_is_named(kind):
    nested = synthetic_dit.adapter(kind)
    group = nested["ip_adapter"] if "ip_adapter" in nested else nested
    lost = [key for key in group if "v_" in key and "1." in key][0]
    del group[lost]
    with pytest.raises(CheckpointError, match=r"file\.bin.*(1\.to_v_ip|needs to_k_ip and to_v_ip)"):
        read_checkpoint(nested, "file.bin")


def test_a_gap_in_the_blocks_is_refused():
    nested = synthetic_dit.adapter("InstantX Flux")
    for part in "kv":
        nested["ip_adapter"][f"9.to_{part}_ip.weight"] = nested["ip_adapter"].pop(f"3.to_{part}_ip.weight")
    with pytest.raises(CheckpointError, match="numbered \\[0, 1, 2, 9\\]"):
        read_checkpoint(nested, "file.bin")


def test_instantid_has_its_own_name():
    nested = synthetic.adapter("FaceID portrait unnorm", context=2048, device="meta")
    assert read_checkpoint(nested, "ip-adapter.bin").config.variant == "InstantID"
    assert read_checkpoint(nested, "ip-adapter_instant-id_sdxl.bin").config.variant == "InstantID"
    portrait = read_checkpoint(nested, "ip-adapter-faceid-portrait_sdxl_unnorm.bin").config
    assert portrait.variant == "FaceID portrait unnorm"


def test_what_stands_for_no_picture_is_as_published():
    kinds = {kind: read_checkpoint(synthetic_dit.adapter(kind), kind).config.no_picture for kind in synthetic_dit.KINDS}
    assert kinds == {
        "XLabs Flux": "black",
        "XLabs Flux v2": "black",
        "InstantX Flux": "zeros",
        "InstantX SD3.5": "zeros",
    }


@pytest.mark.parametrize("takes", ["pooled", "hidden"])
def test_messages_name_siglip(takes):
    assert "SigLIP so400m" in encoder_for(takes, 1152)

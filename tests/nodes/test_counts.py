"""Unequal numbers of pictures, compositions, negatives and latents: one rule, and a note of what is left out."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import synthetic
from harness.in_process import following, sample
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.errors import AdapterError
from pack.nodes.apply import IPAdapterFromParams
from pack.nodes.apply_tiled import IPAdapterTiled
from pack.nodes.applying import keys_values
from pack.nodes.applying.encoding import Reference
from pack.nodes.applying.keys_values import as_many
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.embeds import IPAdapterEncoder
from pack.nodes.loading.adapters import manage
from pack.nodes.params import IPAdapterRegionalConditioning
from performance.rig import Rig
from references.edit_models import MODELS, model_of
from test_nodes_pack import standins

RIG = Rig("sd15")
STATE = synthetic.adapter("standard", seed=7, context=768, channels=synthetic.sd15_channels(32), pooled=48)
ADAPTER = manage(read_checkpoint(STATE, "tiny.safetensors"))
TWO = (2, 4, 8, 8)


def vision():
    return standins.tiny_clip_vision(seed=3, hidden=64, projection=48, image_size=224)


def pictures(seed: int, count: int = 1):
    return torch.rand((count, 32, 32, 3), generator=torch.Generator().manual_seed(seed))


def latents(reference: Reference, shape=TWO, **strength):
    return sample(following(RIG.bare(), ADAPTER, reference, vision(), **strength), shape)


def same(one, other) -> bool:
    """Equal but for rounding: keys and values of more pictures are computed in products of another size."""
    return bool((one - other).norm() < 1e-5 * other.norm())


def test_per_latent_the_shorter_batch_repeats_its_last_entry():
    """The same latents as with the entry given again; without the further entries, another second one."""
    one, two = pictures(1), pictures(2, 2)
    again = torch.cat((one, one))
    kind = {"weight_type": "style and composition"}
    for name, strength in (("composition", kind), ("negative", {})):
        got = latents(Reference(one, per_frame=True, **{name: two}), **strength)
        assert same(got, latents(Reference(again, per_frame=True, **{name: two}), **strength)), name
        first = latents(Reference(one, per_frame=True, **{name: two[:1]}), **strength)
        assert same(got[0], first[0]) and not same(got[1], first[1]), name


def test_a_single_picture_in_tiles_acts_in_every_latent_as_if_given_again(caplog):
    one = pictures(1)
    tiled = {"per_frame": True, "tiles": 2, "tile_ratio": 0.5}
    assert same(latents(Reference(one, **tiled)), latents(Reference(torch.cat((one, one)), **tiled)))
    latents(Reference(one, **tiled), shape=(1, 4, 8, 8))
    assert "not used" not in caplog.text


def test_long_batches_that_compute_keys_and_values_while_sampling_follow_the_same_rule(monkeypatch):
    one, two = pictures(1), pictures(2, 2)
    stored = latents(Reference(one, composition=two, per_frame=True), weight_type="style and composition")
    monkeypatch.setattr(keys_values, "BUDGET", 0)
    computed = latents(Reference(one, composition=two, per_frame=True), weight_type="style and composition")
    assert same(computed, stored)


def test_more_negatives_than_pictures_all_act_and_change_no_positive_attention():
    one, two = pictures(1), pictures(2, 2)
    both = latents(Reference(one, negative=two))
    assert not same(both, latents(Reference(one, negative=two[:1])))
    assert same(both, latents(Reference(torch.cat((one, one)), negative=two)))
    positive, negative = torch.arange(2.0).view(2, 1, 1), torch.arange(3.0).view(3, 1, 1)
    assert [x.flatten().tolist() for x in as_many(positive, negative, False)] == [[0, 1] * 3, [0, 1, 2] * 2]
    assert [len(x) for x in as_many(positive, negative, True)] == [2, 2]


def test_what_is_left_out_is_said(caplog):
    one, three = pictures(1), pictures(2, 3)
    latents(Reference(one, negative=three, combine="average"))
    assert caplog.text.count("Of 3 negative pictures, combine_embeds 'average' follows the first alone") == 1
    latents(Reference(three, per_frame=True))
    assert caplog.text.count("A reference has 3 pictures, one for each latent, and 2 latents are sampled") == 1
    caplog.clear()
    latents(Reference(three, per_frame=True), shape=(3, 4, 8, 8))
    latents(Reference(one, negative=one, combine="average"))
    assert caplog.text == ""


def test_a_black_mask_is_said_once_and_acts_nowhere(caplog):
    bare = sample(RIG.bare(), TWO)
    assert latents(Reference(pictures(1)), mask=torch.zeros(1, 64, 64)).equal(bare)
    assert caplog.text.count("attn_mask is black everywhere") == 1
    caplog.clear()
    latents(Reference(pictures(1)), mask=torch.eye(64).unsqueeze(0))
    assert caplog.text == ""


def test_every_node_that_takes_a_mask_of_the_canvas_or_of_a_picture_names_a_black_one(caplog):
    black, picture = torch.zeros(1, 32, 32), pictures(1)
    kontext, latent = model_of(MODELS["Flux Kontext"]), {"samples": standins.seeded((1, 4, 8, 8), 3)}
    runs = {
        "mask is black everywhere, so the encoder sees no part of the reference": lambda mask: IPAdapterEncoder.run(
            ADAPTER, picture, mask=mask, clip_vision=vision()
        ),
        "mask is black everywhere, so neither the reference nor": lambda mask: IPAdapterRegionalConditioning.run(
            picture, mask=mask
        ),
        "attn_mask is black everywhere": lambda mask: ride_along(RIG.bare(), latent, None, Looks(mask=mask)),
        "attn_mask is black everywhere, so the reference": lambda mask: weigh_references(kontext, 0, 0.5, 0, 1, mask),
    }
    for text, run in runs.items():
        for mask, said in ((black, 1), (torch.eye(32).unsqueeze(0), 0), (None, 0)):
            caplog.clear()
            run(mask)
            assert caplog.text.count(text) == said, text


def test_what_is_no_mask_in_a_region_of_another_pack_is_refused_by_name():
    params = IPAdapterRegionalConditioning.run(pictures(1)).result[0] | {"attn_mask": ["left"]}
    with pytest.raises(AdapterError, match="attn_mask needs a mask, and got a str"):
        IPAdapterFromParams.execute(RIG.bare(), ADAPTER, ipadapter_params=params, clip_vision=vision())


def test_tiles_outside_of_a_mask_are_left_out_without_a_word_and_a_black_mask_is_said(caplog):
    picture, half = torch.cat((pictures(1), pictures(2)), dim=2), torch.zeros(1, 32, 64)
    half[..., :32] = 1
    for mask, said in ((half, 0), (torch.zeros(1, 32, 64), 1)):
        caplog.clear()
        IPAdapterTiled.run(RIG.bare(), ADAPTER, picture, attn_mask=mask, clip_vision=vision())
        assert caplog.text.count("black everywhere") == said

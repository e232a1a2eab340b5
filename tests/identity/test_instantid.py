"""InstantID on a tiny SDXL with ControlNets of its layout: whole predictions, and what must not change them."""

from typing import Any

import pytest
import torch
from torch import Tensor

import synthetic
from harness.assets import SHALLOW
from harness.in_process import following
from identity.instantid_rig import SIZE, Conds, Studio, close, texts
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.applying import caches
from pack.nodes.applying.encoding import Embeds, Reference, with_face_noise
from pack.nodes.loading.adapters import manage
from pack.nodes.sampling.attach import watch
from test_nodes_pack.counting import HOST_NODES, count_step, products, total
from test_nodes_pack.standins import seeded

SITES, PER_SITE = 17, 6  # cross-attentions of "sdxl shallow", and what an image prompt adds to each
OWN = 10  # one for each output of the ControlNet, which ComfyUI's merging multiplies by 1


@pytest.fixture(scope="module")
def studio(analysis, photo) -> Studio:
    return Studio(analysis, photo)


def test_a_prediction_is_the_published_one(studio):
    model, tokens = studio.apply()
    conds = studio.control(texts(), tokens)
    close(studio.published(faceless=True), studio.bare)
    expected = studio.published()
    close(studio.sampled(model, conds), expected)
    for half in (studio.sampled(model, texts()), studio.sampled(studio.model, conds)):
        assert (expected - half).abs().max() > 1  # the other half is more than rounding


def test_without_guidance_the_only_rows_are_those_that_see_the_face(studio):
    model, tokens = studio.apply()
    close(studio.sampled(model, studio.control(texts(), tokens), cfg=1.0), studio.published(cfg=1.0))


def test_a_mask_limits_both_halves(studio):
    model, tokens = studio.apply(mask=studio.left)
    close(studio.sampled(model, studio.control(texts(), tokens, studio.left)), studio.published(studio.left))
    seen: list[tuple[Any, Tensor]] = []

    class Observer:
        def begin(self) -> None: ...

        def see(self, percent: float, site: Any, grid: Any, rows: Any, text: Tensor, image: Tensor) -> None:
            seen.append((site, image.unflatten(1, grid)))

    studio.sampled(watch(model, Observer()), texts())
    assert len(seen) == SITES
    for site, image in seen:
        half = image.shape[2] // 2
        assert not image[:, :, half:].any() and image[:, :, :half].any(), site


def test_the_middle_block_acts_alone(studio):
    model, _ = studio.apply(layer_weights="4:1")
    assert (studio.sampled(model, texts()) - studio.bare).abs().max() > 0.1


def test_weight_zero_is_no_adapter_bit_for_bit_and_nothing_that_came_in_changes(studio):
    model, tokens = studio.apply(weight=0.0)
    assert studio.sampled(model, studio.control(texts(), tokens, strength=0.0)).equal(studio.bare)
    model, tokens = studio.apply()
    before = texts()
    studio.sampled(model, studio.control(before, tokens))
    assert [[set(settings) for _, settings in cond] for cond in before] == [[{"pooled_output"}]] * 2
    assert studio.nets["face"].previous_controlnet is None and studio.nets["face"].cond_hint_original is None
    assert studio.sampled(studio.model, before).equal(studio.bare)


def test_order_and_caches_change_no_picture(studio):
    def with_difference(model: Any) -> Any:
        """As a LoRA of ComfyUI's does it: a difference of a weight."""
        clone = model.clone()
        name = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_q.weight"
        weight = clone.model.state_dict()[name]
        clone.add_patches({name: ("diff", (seeded(tuple(weight.shape), 8),))}, 0.1)
        return clone

    def with_picture(model: Any) -> Any:
        general = synthetic.adapter("SDXL", seed=7, **SHALLOW)
        adapter = manage(read_checkpoint(general, "general.safetensors"))
        return following(model, adapter, Reference(embeds=seeded((1, 32), 1)))

    lora_first, tokens = studio.apply(with_difference(studio.model))
    conds = studio.control(texts(), tokens)
    cold = studio.sampled(lora_first, conds)
    assert studio.sampled(lora_first, conds).equal(cold)
    assert studio.sampled(with_difference(studio.apply()[0]), conds).equal(cold)
    caches.forget()
    again, tokens = studio.apply(with_difference(studio.model))
    assert studio.sampled(again, studio.control(texts(), tokens)).equal(cold)
    picture_first = studio.sampled(studio.apply(with_picture(studio.model))[0], conds)
    close(studio.sampled(with_picture(studio.apply()[0]), conds), picture_first)


def test_the_same_photo_twice_is_the_photo_once(studio):
    once, twice = (studio.apply(photos=("astronaut",) * n, combine="concat") for n in (1, 2))
    one, two = (studio.sampled(model, studio.control(texts(), tokens)) for model, tokens in (once, twice))
    assert twice[1]["positive"].shape[1] == 2 * once[1]["positive"].shape[1]
    close(one, two)


def test_noise_is_the_published_one_and_leaves_the_global_seed_alone():
    face = 20 * seeded((1, 512), 1)
    state = torch.get_rng_state()
    made = with_face_noise(Embeds(None, None, face=face, face_negative=torch.zeros(1, 512)), 0.35)
    assert torch.get_rng_state().equal(state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.sum(face).item()) % 1000000007)
        expected = 0.35 * torch.rand_like(face)
    assert made.face_negative is not None and made.face_negative.equal(expected)


def test_a_step_computes_no_keys_and_values_and_adds_six_operations_to_a_site(studio, monkeypatch):
    model, tokens = studio.apply()

    def refuse(*_: Any) -> None:
        raise AssertionError("keys and values while sampling")

    monkeypatch.setattr(AdapterNetwork, "keys_values", refuse)

    def count(model: Any, conds: list[Conds]) -> Any:
        latent = {"samples": torch.zeros(1, 4, *SIZE)}
        run = HOST_NODES.common_ksampler
        return count_step(model, lambda steps: run(model, 5, steps, 7.0, "euler", "sgm_uniform", *conds, latent))

    without = count(studio.model, studio.chained(texts(), "face"))
    ours = count(model, studio.control(texts(), tokens))
    assert total(ours) - total(without) == SITES * PER_SITE + OWN, (ours - without, without - ours)
    assert products(ours) == products(without)

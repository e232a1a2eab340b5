"""InstantID on a tiny SDXL with ControlNets of its layout: whole predictions, and what must not change them."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import pytest
import torch
from comfy.controlnet import ControlNet, T2IAdapter
from torch import Tensor

import synthetic
from harness.assets import FACE, SHALLOW
from harness.in_process import following
from identity.formulas import both, controlled, denoised, face_attention, predicted, text_attention
from pack.encoders.faces import FaceChoice, face_features
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.checkpoint import Checkpoint, read_checkpoint
from pack.nodes.applying import caches
from pack.nodes.applying.apply import Strength
from pack.nodes.applying.control import with_face_control
from pack.nodes.applying.encoding import Embeds, Reference, with_face_noise
from pack.nodes.applying.face_drawing import Drawing, control_picture, usual_canvas
from pack.nodes.applying.instantid import apply_identity, as_face_embeds, side_by_side
from pack.nodes.instantid_halves import ApplyInstantIDControlNet
from pack.nodes.loading.adapters import LoadedAdapter, manage
from pack.nodes.sampling.attach import watch
from test_nodes_pack.counting import HOST_NODES, count_step, products, total
from test_nodes_pack.loaders import tiny_control_net
from test_nodes_pack.standins import POOLED, seeded
from test_nodes_pack.unets import tiny_model
from transformer_rig import flux_control_net

SIGMA, CFG, WEIGHT, STRENGTH = 3.7, 4.5, 0.8, 0.7
SIZE = (6, 8)  # of the latent; 3 x 4 and 2 x 2 on the other levels
SITES, PER_SITE = 17, 6  # cross-attentions of "sdxl shallow", and what an image prompt adds to each
OWN = 10  # one for each output of the ControlNet, which ComfyUI's merging multiplies by 1
Conds = list[Any]


def close(one: Tensor, other: Tensor) -> None:
    """Equal but for float32 sums in another order, times sigma and guidance, in values up to 100."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=5e-4)


def texts() -> list[Conds]:
    return [[[seeded((1, 8, 2048), seed), {"pooled_output": seeded((1, POOLED), seed + 1)}]] for seed in (10, 20)]


class Studio:
    """Models, ControlNets and the pictures for them."""

    def __init__(self, analysis: Any, photo: Callable[[str], Tensor]) -> None:
        self.analysis, self.photo = analysis, photo
        self.checkpoint: Checkpoint = read_checkpoint(
            synthetic.adapter("InstantID", seed=3, **SHALLOW | FACE), "ip-adapter.bin"
        )
        self.adapter: LoadedAdapter = manage(self.checkpoint)
        self.model = tiny_model("sdxl shallow", 1)
        self.nets = {name: tiny_control_net(seed, "sdxl shallow") for name, seed in (("face", 11), ("other", 12))}
        generator = torch.Generator().manual_seed(0)
        self.hints = {name: torch.rand(1, 48, 64, 3, generator=generator) for name in self.nets}
        self.left = torch.zeros(1, 48, 64)
        self.left[..., :32] = 1

    def apply(
        self, model: Any = None, photos: tuple[str, ...] = ("astronaut",), combine: str = "average", **strength: Any
    ) -> tuple[Any, dict[str, Tensor]]:
        """A model with the face of photos in its cross-attentions, and the face's tokens."""
        images = torch.cat([self.photo(name) for name in photos])
        reference = Reference(images, combine=combine, face=FaceChoice("largest"))
        asked = Strength(**{"weight": WEIGHT} | strength)
        model, tokens = apply_identity(model or self.model, self.adapter, self.analysis, reference, asked)
        return model, dict(side_by_side(tokens))

    def control(
        self, conds: list[Conds], tokens: Any, mask: Tensor | None = None, strength: float = STRENGTH,
        active: tuple[float, float] = (0.0, 1.0),
    ) -> list[Conds]:  # fmt: skip
        return with_face_control(conds, self.nets["face"], self.hints["face"], tokens, strength, active, mask)

    def chained(self, conds: list[Conds], net: str = "other", strength: float = 0.65) -> list[Conds]:
        """A ControlNet that sees the text, as ComfyUI's own Apply ControlNet puts it into the chain."""
        apply: Any = HOST_NODES.ControlNetApplyAdvanced().apply_controlnet
        return list(apply(*conds, self.nets[net], self.hints[net], strength, 0.0, 1.0))

    def sampled(self, model: Any, conds: list[Conds], cfg: float = CFG) -> Tensor:
        return denoised(model, conds, SIGMA, seeded((2, 4, *SIZE), 5), cfg)[1]

    @cached_property
    def bare(self) -> Tensor:
        """What the model gives without a face."""
        return self.sampled(self.model, texts())

    @cached_property
    def face(self) -> list[Tensor]:
        """Tokens of the face, and of no face."""
        choice = FaceChoice("largest")
        vector = face_features(self.analysis, self.photo("astronaut"), 256, normed=False, choice=choice).embeds
        return [self.adapter.network.project(None, row) for row in (vector, torch.zeros_like(vector))]

    @torch.inference_mode()
    def published(
        self, mask: Tensor | None = None, second: float = 0.0, faceless: bool = False, cfg: float = CFG
    ) -> Tensor:
        """The prediction by the formulas: the face in the cross-attentions and in the ControlNet, or in neither;
        `second` is the strength of another ControlNet, which sees the text.
        """
        base, x, of_mask = (
            self.model.model,
            seeded((2, 4, *SIZE), 5) * SIGMA,
            None if mask is None else mask.unsqueeze(1),
        )
        noise = []
        for tokens, cond in zip(self.face, texts(), strict=True):
            text, settings = cond[0]
            y = base.encode_adm(pooled_output=settings["pooled_output"], width=SIZE[1] * 8, height=SIZE[0] * 8)
            formula, added = text_attention, None
            if not faceless:
                formula = face_attention(tokens, self.checkpoint.ip_adapter, WEIGHT, of_mask)
                face = (self.hints["face"], tokens, y, STRENGTH, of_mask)
                added = controlled(base, self.nets["face"], x, SIGMA, *face)
            if second and added:
                other = (self.hints["other"], text, y, second)
                added = both(added, controlled(base, self.nets["other"], x, SIGMA, *other))
            noise.append(predicted(base, x, SIGMA, text, y, formula, added))
        return x - SIGMA * (noise[1] + cfg * (noise[0] - noise[1]))


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


def test_both_halves_begin_and_end_with_the_range(studio):
    percents = (0.0, 0.9), (0.9, 1.0)  # SIGMA lies in the first range
    model, tokens = studio.apply()
    acting, resting = (studio.sampled(model, studio.control(texts(), tokens, active=active)) for active in percents)
    assert acting.equal(studio.sampled(model, studio.control(texts(), tokens)))
    assert resting.equal(studio.sampled(model, texts()))
    late = studio.apply(start_at=0.9)[0]
    assert studio.sampled(late, texts()).equal(studio.bare)


def test_a_photo_of_an_unusual_size_is_drawn_with_a_long_side_of_1280(studio):
    drawing = Drawing(FaceChoice("largest"))
    assert control_picture(studio.analysis, studio.photo("astronaut"), drawing).shape == (1, 1280, 1280, 3)
    sizes = {(4000, 3000): (1280, 960), (1016, 1016): (1016, 1016), (600, 300): (1280, 640), (768, 1536): (768, 1536)}
    assert {size: usual_canvas(size) for size in sizes} == sizes


def test_comfyui_loads_counts_and_copies_the_whole_chain(studio, monkeypatch):
    model, tokens = studio.apply(mask=studio.left)
    conds = studio.control(studio.chained(texts()), tokens, studio.left)
    control = conds[0][0][1]["control"]
    assert {patcher.model for patcher in control.get_models()} == {net.control_model for net in studio.nets.values()}
    monkeypatch.setattr(ControlNet, "inference_memory_requirements", lambda net, dtype: 5, raising=False)
    assert control.inference_memory_requirements(torch.float32) == 10
    device = torch.device("cpu")
    twin = control.deepclone_multigpu(device, autoregister=True)  # as for another GPU
    assert control.get_instance_for_device(device) is twin and twin.previous_controlnet is None
    assert twin.net.control_model is not control.net.control_model
    twin.set_previous_controlnet(control.previous_controlnet)
    twins = [[[text, settings | {"control": twin}] for text, settings in cond] for cond in conds]
    assert studio.sampled(model, twins).equal(studio.sampled(model, conds))


def test_nets_that_could_not_read_a_face_are_refused(studio):
    _, tokens = studio.apply()
    adapter: Any = T2IAdapter(torch.nn.Identity(), 3, 8, "nearest-exact")
    cases = {"and got a T2IAdapter": adapter, "has no cross-attentions that could read a face": flux_control_net()}
    for message, net in cases.items():
        with pytest.raises(ValueError, match=message):
            with_face_control(texts(), net, studio.hints["face"], tokens, STRENGTH, (0.0, 1.0))


def test_a_drawing_in_grey_is_that_drawing_in_three_channels_and_a_reversed_range_is_refused(studio):
    model, tokens = studio.apply()
    grey = studio.hints["face"][..., :1]

    def drawn(hint: Tensor, **active: float) -> Tensor:
        given = as_face_embeds(tokens), studio.nets["face"], hint, *texts()
        return studio.sampled(model, list(ApplyInstantIDControlNet.run(*given, **active).result))

    assert drawn(grey).equal(drawn(grey.expand(-1, -1, -1, 3)))
    with pytest.raises(ValueError, match=r"start_at \(0.9\) lies after end_at \(0.1\), so the ControlNet"):
        drawn(grey, start_at=0.9, end_at=0.1)


def test_a_text_with_an_area_is_named_since_the_drawing_would_be_squeezed_into_it(studio, caplog):
    tokens = as_face_embeds(studio.apply()[1])
    positive, negative = texts()
    for area, said in ({"area": (4, 4, 0, 0)}, 1), ({"mask": studio.left, "set_area_to_bounds": True}, 1), ({}, 0):
        caplog.clear()
        placed = [[text, settings | area] for text, settings in positive]
        ApplyInstantIDControlNet.run(tokens, studio.nets["face"], studio.hints["face"], placed, negative)
        assert caplog.text.count("squeezes the whole drawing of the face") == said, area


def test_another_control_net_sees_the_text_before_and_behind(studio):
    model, tokens = studio.apply()
    expected = studio.published(second=0.65)
    close(studio.sampled(model, studio.chained(studio.control(texts(), tokens))), expected)
    close(studio.sampled(model, studio.control(studio.chained(texts()), tokens)), expected)


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


def test_a_black_mask_is_named_by_each_half(studio, caplog):
    tokens = as_face_embeds(studio.apply()[1])
    hint = studio.hints["face"]
    halves: dict[str, Callable[[Tensor | None], Any]] = {
        "mask is black everywhere, so the face acts nowhere": lambda mask: studio.apply(mask=mask),
        "mask is black everywhere, so the ControlNet acts nowhere": lambda mask: ApplyInstantIDControlNet.run(
            tokens, studio.nets["face"], hint, *texts(), mask=mask
        ),
    }
    for text, run in halves.items():
        for mask, said in ((torch.zeros(1, 64, 64), 1), (studio.left, 0), (None, 0)):
            caplog.clear()
            run(mask)
            assert caplog.text.count(text) == said, text


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

"""What holds of a riding reference on a UNet, whatever it shows: bits where the model's own picture stays."""

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_tomesd import TomePatchModel
from torch import Tensor

from harness.in_process import conditioning, sample
from pack.nodes.applying.riding import Looks, late_layers, ride_along
from pack.nodes.sampling import riding as riding_module
from pack.nodes.sampling.attach import rider_of, sites_of
from pack.nodes.sampling.riding import Ride
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from performance.rig import Rig, in_windows
from test_nodes_pack.standins import seeded

RIG = Rig("sd15")
MODEL = RIG.bare()  # no test changes it: that would show in the others


def ride(model: Any = MODEL, seed: int = 11, size=(8, 8), images: int = 1, text: Any = None, **looks: Any) -> Any:
    """The model with one more reference of random colours."""
    return ride_along(model, {"samples": seeded((images, 4, *size), seed)}, text, Looks(**{"layers": "all"} | looks))


def left(size: int = 64) -> Tensor:
    mask = torch.zeros(1, size, size)
    mask[..., : size // 2] = 1
    return mask


@pytest.fixture(scope="module")
def bare():
    return sample(MODEL, steps=2)


@pytest.fixture(scope="module")
def ridden():
    return sample(ride(), steps=2)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether latents are the same up to the rounding of float32 over all layers of the model and two steps."""
    return float((a - b).abs().max()) <= 1e-5 * float(b.abs().max())


def changes(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() > 0.02 * b.norm())


def test_a_reference_acts_whatever_its_shape_and_its_layers(bare, ridden):
    assert changes(ridden, bare)
    cases: list[dict[str, Any]] = [
        {"size": (4, 12)},
        {"images": 2},
        {"layers": "late"},
        {"competes": True, "weight": 0.5},
    ]
    for looks in cases:
        assert changes(sample(ride(**looks), steps=2), bare), looks


def test_without_a_share_the_picture_has_the_bits_of_the_models_own(bare):
    silent: dict[str, dict[str, Any]] = {
        "weight 0": {"weight": 0.0},
        "an empty mask": {"mask": torch.zeros(1, 64, 64)},
        "an empty mask, compete": {"mask": torch.zeros(1, 64, 64), "competes": True},
        "no layer of the schedule": {"schedule": WeightSchedule("3:0")},
        "outside of its range": {"start_at": 0.3, "end_at": 0.6},
    }
    assert [name for name, looks in silent.items() if not torch.equal(sample(ride(**looks), steps=2), bare)] == []


def test_a_second_run_gives_the_same_and_nothing_stays_on_the_device(ridden, bare):
    model = ride()
    rng = torch.get_rng_state()
    runs = [sample(model, steps=2) for _ in range(2)]
    assert torch.equal(runs[0], ridden)
    assert torch.equal(runs[1], ridden)
    assert torch.equal(sample(MODEL, steps=2), bare)
    assert not rider_of(model, Ride).kept
    assert torch.equal(torch.get_rng_state(), rng)


def test_shares_add_up_in_any_order():
    whole = sample(ride(), steps=2)
    for competes in (False, True):
        one = whole if not competes else sample(ride(weight=0.8, competes=True), steps=2)
        weight = 0.8 if competes else 1.0
        how: dict[str, Any] = {"weight": weight, "competes": competes}
        halves = ride(ride(mask=left(), **how), mask=1 - left(), **how)
        assert same(sample(halves, steps=2), one)
        both = (ride(ride(seed=1, weight=0.6), seed=2, weight=0.3), ride(ride(seed=2, weight=0.3), seed=1, weight=0.6))
        assert same(*(sample(model, steps=2) for model in both))
    assert same(sample(ride(ride()), steps=2), whole)
    assert same(sample(ride(competes=True), steps=2), whole)


@pytest.mark.parametrize(
    "looks", [{}, {"weight": 0.5, "competes": True}, {"match": 1.0}, {"weight": 0.5, "competes": True, "match": 1.0}],
    ids=["swap", "compete", "swap, match", "compete, match"],
)  # fmt: skip
def test_a_reference_that_is_the_picture_changes_nothing(looks, monkeypatch):
    def as_the_picture(sigma: float, like: Tensor) -> Tensor:
        return seeded(tuple(like.shape), 5) * (1 + sigma**2) ** 0.5 / sigma  # as `sample` starts, on an empty latent

    def drawn(model: Any) -> Tensor:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(conditioning(10), conditioning(20))
        guider.set_cfg(1.0)
        return sample(model, guider=guider)

    monkeypatch.setattr(riding_module, "noise_at", as_the_picture)
    model = ride_along(MODEL, {"samples": torch.zeros(1, 4, 8, 8)}, conditioning(10), Looks(layers="all", **looks))
    assert same(drawn(model), drawn(MODEL))


def test_the_model_runs_once_a_step_on_a_reference(monkeypatch):
    calls = []
    plain = MODEL.model._apply_model

    def counted(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(len(x))
        return plain(x, *args, **kwargs)

    monkeypatch.setattr(MODEL.model, "_apply_model", counted)
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [1, 2] * 4), ({"end_at": 0.5}, [1, 2] * 2 + [2] * 2), ({"images": 3}, [3, 2] * 4)
    ]  # fmt: skip
    for looks, expected in cases:
        calls.clear()
        sample(ride(**looks), steps=4)
        assert calls == expected, looks


def test_rows_of_a_batch_get_what_each_gets_alone():
    shape = (2, 4, 8, 8)
    noise = seeded(shape, 5)
    guider = comfy.samplers.CFGGuider

    def drawn(model: Any, x: Tensor) -> Tensor:
        made = guider(model)
        made.set_conds(conditioning(10), conditioning(20))
        made.set_cfg(4.0)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 2)
        with torch.inference_mode():
            return made.sample(x, torch.zeros_like(x), comfy.samplers.ksampler("euler"), sigmas, seed=5)

    hows: list[dict[str, Any]] = [{}, {"negative": 0.5}, {"mask": left()}]
    for how in hows:
        model = ride(**how)
        alone = torch.cat([drawn(model, noise[i : i + 1]) for i in range(2)])
        assert same(drawn(model, noise), alone)


def test_frames_look_at_their_own_references():
    latents = torch.cat([seeded((1, 4, 8, 8), seed) for seed in (1, 2, 3)])
    looks = Looks(layers="all", per_frame=True)
    first, other = (
        sample(ride_along(MODEL, {"samples": latents[list(pick)]}, None, looks), (2, 4, 8, 8))
        for pick in ((0, 1), (0, 2))
    )
    assert same(first[:1], other[:1])
    assert not same(first[1:], other[1:])


def test_frames_of_context_windows_look_at_their_own_references():
    shape = (6, 4, 8, 8)
    batch = ride(images=6, per_frame=True)
    whole, windows = sample(batch, shape), sample(in_windows(batch, length=6, overlap=2), shape)
    assert same(windows, whole)
    parts = sample(in_windows(batch, length=4, overlap=2), shape)
    assert same(parts, whole)


def test_a_schedule_says_layers_and_steps():
    layers = late_layers(MODEL.model.diffusion_model, sites_of(MODEL))
    assert layers == list(range(10, 16))
    text = ", ".join(f"{layer}:1" for layer in layers)
    late = sample(ride(layers="late", weight=0.7), steps=2)
    assert torch.equal(sample(ride(weight=0.7, schedule=WeightSchedule(text)), steps=2), late)
    falling = ride(schedule=WeightSchedule("linear", StepCurve("linear up", 0.0, 1.0)))
    assert changes(sample(falling, steps=2), sample(ride(), steps=2))
    sdxl = Rig("sdxl shallow").bare()
    assert late_layers(sdxl.model.diffusion_model, sites_of(sdxl)) == [8, 9, 10]


def test_negative_rows_look_less(bare, ridden):
    none, half = (sample(ride(negative=part), steps=2) for part in (0.0, 0.5))
    assert changes(none, ridden)
    assert changes(half, ridden)
    assert changes(half, none)
    assert changes(none, bare)


def test_an_adapter_acts_beside_a_reference_in_any_order(ridden):
    followed = RIG.follow(MODEL)
    first, second = sample(RIG.follow(ride()), steps=2), sample(ride(followed), steps=2)
    assert torch.equal(first, second)
    assert changes(first, ridden)
    assert changes(first, sample(followed, steps=2))


def test_patches_of_self_attention_stay():
    calls = []

    def counting(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        calls.append(len(q))
        return v

    patched = MODEL.clone()
    patched.set_model_attn1_replace(counting, "middle", 0)
    alone = sample(patched)
    assert calls == [2]
    assert changes(sample(ride(patched, weight=0.5)), alone)
    assert calls == [2, 2]  # in the picture's call, and not in the reference's
    guided = PerturbedAttentionGuidance().execute(MODEL, 3.0)[0]
    assert changes(sample(ride(guided, weight=0.5)), sample(guided))


def test_merged_tokens_are_left_alone_and_said(caplog):
    merged = TomePatchModel().execute(MODEL, 0.5)[0]
    finest = WeightSchedule("13-15:1")  # ToMe merges where the grid is the latent's
    latents = []
    for model in (merged, ride(merged, schedule=finest)):
        torch.manual_seed(1)  # ToMe draws which tokens it merges
        latents.append(sample(model))
    assert torch.equal(*latents)
    assert caplog.text.count("work on merged or tiled tokens") == 1
    assert changes(sample(ride(merged)), sample(merged))

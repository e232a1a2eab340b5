"""What is done once stays done once, and nothing stays for ever."""

import gc
import weakref
from collections import Counter

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from harness.in_process import following
from pack.ipadapter import cache
from pack.ipadapter.adapter import AdapterNetwork
from pack.nodes.apply_tiled import IPAdapterTiled
from pack.nodes.applying import caches
from pack.nodes.applying.encoding import Reference
from pack.nodes.sampling.attach import attached_prompts
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from performance.rig import Rig, half_mask, hooks_of, patches_of
from test_nodes_pack import standins
from test_nodes_pack.counting import Operations, products

RIG, SMALL = Rig("sd15"), Rig("two layers")
CHANGES = [
    {"weight": 0.3},
    {"weight_type": "style transfer"},
    {"weight_type": "style transfer precise", "weight": 0.7},
    {"start_at": 0.2, "end_at": 0.8},
    {"mask": half_mask()},
    {"scaling": "K+V w/ C penalty"},
    {"layer_weights": "0:0.5, 4:1"},
    {"schedule": WeightSchedule(steps=StepCurve(shape="ease in"))},
    {"weight": [0.1, 0.9]},
]


@pytest.fixture
def fresh():
    caches.forget()


@pytest.fixture
def work(monkeypatch):
    """How often the expensive things happen: encoding, projecting, computing K/V."""
    calls: Counter[str] = Counter()

    def count(owner, name):
        real = getattr(owner, name)

        def counted(*args, **kwargs):
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    count(AdapterNetwork, "project")
    count(AdapterNetwork, "keys_values")
    clip_vision = standins.tiny_clip_vision(3, 64, 32, 224)
    count(clip_vision, "encode_image")
    return clip_vision, calls


def picture(seed: int, batch: int = 1) -> torch.Tensor:
    return torch.rand((batch, 64, 64, 3), generator=torch.Generator().manual_seed(seed))


def follow(model, clip_vision, image, **strength):
    return following(model, RIG.adapter, Reference(images=image), clip_vision, **strength)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_another_weight_type_range_mask_or_schedule_computes_nothing_again(fresh, work, change):
    clip_vision, calls = work
    model = RIG.bare()
    first = follow(model, clip_vision, picture(1))
    assert calls == {"encode_image": 1, "project": 2, "keys_values": RIG.layers}
    calls.clear()
    with torch.inference_mode(), Operations() as operations:
        changed = follow(model, clip_vision, picture(1), **change)  # an equal picture, not the same object
    assert not calls and products(operations.counts) == 0
    assert not torch.equal(RIG.sample(changed, frames=2), RIG.sample(first, frames=2))
    assert not calls


def test_another_picture_costs_one_encoding_and_no_rebuilt_adapter(fresh, work):
    clip_vision, calls = work
    model = RIG.bare()
    follow(model, clip_vision, picture(1))
    weights = {name: x.data_ptr() for name, x in RIG.adapter.network.state_dict().items()}
    calls.clear()
    follow(model, clip_vision, picture(2))
    assert calls["encode_image"] == 1 and calls["keys_values"] == RIG.layers
    assert {name: x.data_ptr() for name, x in RIG.adapter.network.state_dict().items()} == weights
    calls.clear()
    follow(model, clip_vision, picture(1))
    assert not calls, "the first picture is still known"


def test_a_picture_that_occurs_twice_is_encoded_once(fresh, work):
    clip_vision, _ = work
    seen: list[int] = []
    encode = clip_vision.encode_image
    clip_vision.encode_image = lambda images: (seen.append(len(images)), encode(images))[1]
    follow(RIG.bare(), clip_vision, torch.cat([picture(1), picture(2), picture(1)]))
    assert seen == [2]


def test_every_cache_has_a_bound_and_keeps_to_it(monkeypatch, fresh, work):
    clip_vision, _ = work
    assert sum(one.max_bytes for one in caches.CONTENT_CACHES) <= 1024 * 2**20
    for one in caches.CONTENT_CACHES:
        monkeypatch.setattr(one, "max_bytes", 400_000)
    model = RIG.bare()
    for seed in range(12):
        follow(model, clip_vision, picture(seed))
        assert all(one.bytes <= one.max_bytes for one in caches.CONTENT_CACHES)
    assert len(caches.KEYS_VALUES) < 12


def test_two_hundred_applies_leave_no_more_behind_than_one_hundred(monkeypatch, fresh):
    monkeypatch.setattr(caches.KEYS_VALUES, "max_bytes", 30_000)
    model = SMALL.bare()
    seen: weakref.WeakSet = weakref.WeakSet()

    def apply(number: int) -> None:
        patched = SMALL.follow(model, number % 50, weight=1 + number / 1000, mask=half_mask() * 0.5)
        seen.update([patched, hooks_of(patched), *attached_prompts(patched), *patches_of(patched)])

    for number in range(100):
        apply(number)
    gc.collect()
    after_hundred = cache.live_serials(), len(caches.TOKENS)
    for number in range(100, 200):
        apply(number)
    gc.collect()
    assert not seen
    assert (cache.live_serials(), len(caches.TOKENS)) == after_hundred
    assert caches.KEYS_VALUES.bytes <= 30_000
    assert not patches_of(model) and not model.wrappers and not model.callbacks


def test_the_noise_schedule_of_a_model_is_looked_up_once_and_kept_as_long_as_the_model(monkeypatch):
    model = RIG.bare()
    schedule = model.get_model_object("model_sampling")
    asked, look_up = [], type(schedule).percent_to_sigma
    monkeypatch.setattr(type(schedule), "percent_to_sigma", lambda self, at: asked.append(at) or look_up(self, at))
    rising = WeightSchedule(steps=StepCurve(shape="linear up"))
    RIG.follow(model, schedule=rising, start_at=0.1)
    assert len(asked) > 1000
    asked.clear()
    RIG.follow(model, seed=2, schedule=rising, start_at=0.1)
    assert not asked
    schedule.set_sigmas(schedule.sigmas * 2)  # as some packs do, in place
    RIG.follow(model, schedule=rising, start_at=0.1)
    assert len(asked) > 1000
    there = weakref.ref(schedule)
    del model, schedule
    gc.collect()
    assert there() is None


def test_tiles_share_one_adapter_and_need_none_while_sampling(monkeypatch, fresh, work):
    clip_vision, calls = work
    adapter = RIG.adapter
    made: list[object] = []
    monkeypatch.setattr(AdapterNetwork, "__init__", lambda self, *args, **kwargs: made.append(self))
    picture_of_two = torch.rand((1, 64, 128, 3), generator=torch.Generator().manual_seed(1))
    patched = IPAdapterTiled.execute(
        RIG.bare(), adapter, picture_of_two, clip_vision=clip_vision, weight=1.0, weight_type="linear",
        combine_embeds="concat", start_at=0.0, end_at=1.0, embeds_scaling="V only",
    ).args[0]  # fmt: skip
    tiles = attached_prompts(patched)
    assert len(tiles) > 1
    assert calls["keys_values"] == len(tiles) * RIG.layers
    assert made == [], "the adapter that came in serves every tile"
    calls.clear()
    RIG.sample(patched)
    assert not calls and patched.model_patches_models() == []

import gc
import threading
from dataclasses import dataclass

import pytest
import torch

from pack.ipadapter import cache as cache_module
from pack.ipadapter.cache import LIVE, ContentCache, content_key, image_keys, serial, tensor_bytes


def test_a_value_is_made_once():
    cache, made = ContentCache(1000), []
    values = [cache.get_or_make("a", lambda: made.append(1) or torch.ones(10)) for _ in range(3)]
    assert len(made) == 1 and all(value is values[0] for value in values)
    assert (cache.hits, cache.misses, cache.bytes) == (2, 1, 40)


def test_what_was_used_longest_ago_is_forgotten_first():
    cache = ContentCache(80)
    for key in ("a", "b", "a", "c"):  # 40 bytes each: c pushes b out
        cache.get_or_make(key, lambda: torch.ones(10))
    misses = cache.misses
    cache.get_or_make("a", lambda: torch.ones(10))
    assert cache.misses == misses
    cache.get_or_make("b", lambda: torch.ones(10))
    assert cache.misses == misses + 1 and cache.bytes <= 80


def test_a_value_over_the_bound_is_made_and_not_kept():
    cache = ContentCache(80)
    cache.get_or_make("small", lambda: torch.ones(10))
    assert len(cache.get_or_make("large", lambda: torch.ones(100))) == 100
    assert len(cache) == 1 and cache.bytes == 40


def test_a_failure_is_raised_and_not_kept():
    cache = ContentCache(80)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_make("a", lambda: 1 // 0)
    assert cache.get_or_make("a", lambda: 2) == 2


def test_making_may_ask_the_same_cache():
    cache = ContentCache(80)
    assert cache.get_or_make("a", lambda: cache.get_or_make("b", lambda: 1) + 1) == 2


def test_threads_share_the_first_value():
    cache, start = ContentCache(10_000), threading.Barrier(4)
    values = []

    def ask():
        start.wait()
        values.append(cache.get_or_make("a", lambda: torch.rand(10)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(value is values[0] for value in values) and cache.bytes == 40


def test_bytes_of_nested_values():
    @dataclass
    class Pair:
        a: torch.Tensor
        note: str

    value = {"x": [torch.ones(2), (torch.ones(3, dtype=torch.float16),)], "y": Pair(torch.ones(1), "n")}
    assert tensor_bytes(value) == 8 + 6 + 4


def test_equal_content_has_equal_keys_whatever_its_layout():
    x = torch.arange(6.0).view(2, 3)
    assert content_key(x) == content_key(x.clone()) == content_key(x.t().contiguous().t())


@pytest.mark.parametrize(
    "other",
    [torch.arange(6.0).view(3, 2), torch.arange(6).view(2, 3), torch.arange(6.0).view(2, 3) + 1e-6, torch.zeros(2, 3)],
)
def test_other_content_has_another_key(other):
    assert content_key(torch.arange(6.0).view(2, 3)) != content_key(other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.float64])
def test_every_type_has_a_key(dtype):
    assert len(content_key(torch.ones(3, dtype=dtype))) == len(content_key(torch.tensor(1))) == 20


@dataclass
class Thing:  # dataclasses compare by value, so they have no hash
    name: str = "same"


def test_a_serial_belongs_to_one_object_for_ever():
    numbers = set()
    for _ in range(100):  # addresses are used again, numbers are not
        thing = Thing()
        number = serial(thing)
        assert number == serial(thing) and number not in numbers
        numbers.add(number)
        del thing
        gc.collect(0)


def test_a_serial_keeps_nothing_alive():
    import weakref

    thing = Thing()
    serial(thing)
    alive = weakref.ref(thing)
    del thing
    assert alive() is None


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "shape", [(2, 16, 24, 3), (1, 3, 5, 1)]
)  # with and without whole rows of 512 numbers of 64 bits
@pytest.mark.parametrize(
    "layout", [lambda x: x, lambda x: x[..., :1], lambda x: x.half(), lambda x: x[1:] if len(x) > 1 else x]
)
def test_a_live_tensor_is_hashed_once_and_again_when_it_changes(monkeypatch, inference, shape, layout):
    digests: list[bytes] = []
    real = cache_module.digest
    monkeypatch.setattr(cache_module, "digest", lambda x: (digests.append(real(x)), digests[-1])[1])
    with torch.inference_mode(inference):
        x = layout(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
        keys = {content_key(x), content_key(x)}
        assert len(digests) == 1
        x[0] = x[0].flip(0)  # sums over all values stay
        keys |= {content_key(x), content_key(x)}
        x.mul_(0.5)
        keys |= {content_key(x), content_key(x)}
        assert len(digests) == len(keys) == 3
        assert content_key(x.clone()) == content_key(x)


def test_what_is_known_of_a_tensor_goes_with_it():
    before = len(LIVE._known)
    x = torch.rand(4)
    content_key(x)
    assert len(LIVE._known) == before + 1
    del x
    assert len(LIVE._known) == before


def test_every_picture_of_a_batch_has_the_key_of_its_colours():
    rgba = torch.rand(3, 4, 4, 4)
    assert image_keys(rgba) == image_keys(rgba[..., :3]) == tuple(content_key(image[..., :3]) for image in rgba)
    assert image_keys(rgba.double().float()[:1]) == image_keys(rgba)[:1]

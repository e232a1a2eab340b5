"""What lies on the device while sampling, and for how long."""

import gc
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import is_fake

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.model_management as memory

import synthetic
import synthetic_transformers
from benchmarks.memory import kept_bytes
from pack.ipadapter.adapter import AdapterNetwork
from pack.ipadapter.cache import ContentCache
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.image_prompt import NEGATIVE, POSITIVE, KeysValues, Rows, arrange
from pack.nodes.applying import caches, keys_values
from pack.nodes.loading.adapters import load_adapter, manage
from pack.nodes.sampling.attach import attached_prompts
from pack.nodes.sampling.store import BUDGET
from performance.rig import Rig, half_mask, hooks_of, in_windows
from test_nodes_pack import standins

RIG = Rig("sd15")
SMALL = Rig("two layers", size=4)  # for batches: what is kept grows with their frames, in every layer alike
MEGABYTE = 10**6


@pytest.mark.parametrize("tokens, bound", [(4, 3 * MEGABYTE), (16, 11 * MEGABYTE)])
def test_sdxl_needs_few_megabytes_of_keys_and_values_in_half_precision(tokens, bound):
    widths = synthetic.sdxl_channels()
    rows = Rows((NEGATIVE, POSITIVE), frames=1)
    kept = 0
    prompt = attached_prompts(RIG.follow(RIG.bare()))[0]
    for width in set(widths):
        pair = (torch.zeros(1, tokens, width, dtype=torch.float16),) * 2
        arranged = arrange(prompt, KeysValues(pair, pair), 0, rows, width // 64, 1.0)
        kept += sum(x.nbytes for x in arranged) * widths.count(width)
    assert kept <= bound


def test_the_adapter_is_managed_while_it_computes_and_free_to_leave_afterwards():
    state_dict = synthetic.adapter("standard", seed=8, context=768, channels=synthetic.sd15_channels(32), pooled=32)
    adapter = manage(read_checkpoint(state_dict, "fresh.safetensors"))
    managed = lambda: [one.model for one in memory.current_loaded_models]  # noqa: E731
    assert adapter.patcher not in managed()
    adapter.to_device()
    assert adapter.patcher in managed()
    (loaded,) = [one for one in memory.current_loaded_models if one.model is adapter.patcher]
    assert loaded.model_memory() == sum(x.nbytes for x in adapter.network.state_dict().values())
    memory.unload_all_models()
    assert adapter.patcher not in managed()
    assert attached_prompts(RIG.follow(RIG.bare()))[0].source.models == ()


def test_once_a_network_has_the_weights_of_a_file_no_other_object_holds_them():
    """Where ComfyUI moves a network to a device, whatever holds the file's tensors would be a second copy of them."""
    sizes: dict[str, Any] = dict(context=768, channels=synthetic.sd15_channels(32), face_hidden=64)
    checkpoint = read_checkpoint(synthetic.adapter("FaceID", seed=8, **sizes), "fresh.safetensors")
    held = [weakref.ref(x) for group in (checkpoint.image_proj, checkpoint.ip_adapter) for x in group.values()]
    halves = dict(checkpoint.lora)
    adapter = manage(checkpoint)
    del checkpoint
    gc.collect()
    assert len(held) == len(adapter.network.state_dict()) and not any(ref() is not None for ref in held)
    assert adapter.name == "fresh.safetensors" and adapter.lora == halves and adapter.config.has_lora


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_an_adapter_s_file_is_in_memory_once_and_leaves_no_byte_when_its_network_moves(tmp_path, suffix):
    """InstantX' adapter for Flux has 5.3 GB: kept beside a network on a GPU, its tensors would be as many again."""

    def held() -> dict[int, int]:
        alive = (x for x in gc.get_objects() if isinstance(x, torch.Tensor) and x.device.type == "cpu")
        stored = [x.untyped_storage() for x in alive if not is_fake(x)]  # what torch.compile traced with has no bytes
        return {x.data_ptr(): x.nbytes() for x in stored}

    path = synthetic.save(synthetic_transformers.adapter("InstantX Flux", embed=1152), tmp_path / f"flux{suffix}")
    gc.collect()
    before = held()
    adapter = load_adapter(path)
    weights = sum(x.nbytes for x in adapter.network.state_dict().values())
    gc.collect()
    added = sum(size for place, size in held().items() if place not in before)
    assert weights <= added < 1.01 * weights  # what else came into being is small
    adapter.network.to("meta")
    gc.collect()
    assert sum(size for place, size in held().items() if place not in before) < 0.01 * weights


def test_a_model_with_image_prompts_asks_for_no_adapter_while_sampling():
    patched = RIG.chain(RIG.bare(), 4)
    assert patched.model_patches_models() == []


@pytest.mark.parametrize("frames", [40, 200])
def test_a_long_batch_stays_in_its_budget_and_grows_with_its_windows(monkeypatch, frames):
    monkeypatch.setattr(keys_values, "BUDGET", 10_000)
    monkeypatch.setattr(keys_values, "KEYS_VALUES", ContentCache(0))
    patched = in_windows(SMALL.follow(SMALL.bare(), images=frames, per_frame=True, mask=half_mask(frames, 4)))
    store = hooks_of(patched).plans.store
    store.max_bytes = 80_000  # one of the two layers at a time
    prompt = attached_prompts(patched)[0]
    assert prompt.source.models == (SMALL.adapter.patcher,)
    assert patched.model_patches_models() == [SMALL.adapter.patcher] * SMALL.layers
    pictures: list[int] = []
    most = 0
    compute = AdapterNetwork.keys_values

    def watched(self, tokens, number, *more):
        nonlocal most
        most = max(most, store.bytes)
        pictures.append(len(tokens))
        return compute(self, tokens, number, *more)

    monkeypatch.setattr(AdapterNetwork, "keys_values", watched)
    SMALL.sample(patched, steps=1, frames=frames)
    windows = len(pictures) / (2 * SMALL.layers)  # positive and negative, every layer
    assert windows == windows_of(frames)
    assert max(pictures) <= 16 + 1, "a window's pictures, and the anchor frame that ComfyUI puts before it"
    assert 0 < most <= store.max_bytes
    assert store.bytes == 0


def test_the_benchmark_counts_keys_and_values_of_both_rows_in_every_layer():
    channels = synthetic.sdxl_channels()
    assert kept_bytes(channels, 4) == 2 * 2 * 4 * sum(channels) * torch.float16.itemsize  # rows, K and V, tokens


def windows_of(frames: int) -> int:
    """How many windows of 16 with 4 in common ComfyUI cuts a batch into."""
    return 1 + -(-(frames - 16) // 12)


def test_per_window_keys_and_values_give_the_picture_that_kept_ones_give(monkeypatch):
    def picture():
        return SMALL.sample(in_windows(SMALL.follow(SMALL.bare(), images=40, per_frame=True)), steps=1, frames=40)

    kept = picture()
    monkeypatch.setattr(keys_values, "BUDGET", 0)
    torch.testing.assert_close(picture(), kept, rtol=1e-4, atol=1e-4)  # a product of few rows rounds otherwise


def test_what_is_kept_has_the_bounds_that_the_documentation_names():
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text("utf-8")
    bounds = {
        "features of encoded pictures": caches.FEATURES.max_bytes,
        "faces": caches.FACES.max_bytes,
        "image tokens": caches.TOKENS.max_bytes,
        "keys and values": caches.KEYS_VALUES.max_bytes,
        "keys, values and masks of the model that samples": BUDGET,
    }
    said = re.findall(r"^\| ([^|]+) \| [^|]+ \| (\d+) MiB", page, re.MULTILINE)
    assert {what: int(mib) * 2**20 for what, mib in said} == bounds
    own = re.search(r"may need more than (\d+) MiB of keys and values", page)
    assert own and int(own[1]) * 2**20 == keys_values.BUDGET


def test_a_sampler_with_gradients_may_follow_one_without():
    patched = RIG.follow(RIG.bare(), mask=half_mask())
    options = patched.model_options["transformer_options"] | {"cond_or_uncond": [1, 0], "sigmas": torch.tensor([5.0])}
    text = standins.seeded((2, 77, 768), 4)
    unet = patched.model.diffusion_model
    with torch.inference_mode():
        unet(standins.seeded((2, 4, 8, 8), 3), torch.tensor([500.0, 500.0]), text, transformer_options=dict(options))
    assert hooks_of(patched).plans.store.bytes > 0
    x = standins.seeded((2, 4, 8, 8), 3).requires_grad_()
    unet(x, torch.tensor([500.0, 500.0]), text, transformer_options=dict(options)).square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0

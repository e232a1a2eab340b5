"""Image prompts on every way in which ComfyUI may run a UNet: precisions, packed weights, backends, threads."""

import threading
from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.modules.attention as host_attention
import comfy.ops
from comfy.model_patcher import ModelPatcher

import synthetic
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.sites import find_sites
from pack.nodes.applying.keys_values import storage_type
from pack.nodes.loading.adapters import manage
from packed import pack_linears
from performance.rig import Rig, half_mask, hooks_of, patches_of
from test_nodes_pack import standins, unets

RIG = Rig("sd15")
STEP = {"steps": 1}


def changes(rig: Rig, model: ModelPatcher) -> float:
    """How far an image prompt moves the latent."""
    patched = rig.sample(rig.follow(model, mask=half_mask()), **STEP)
    assert patched.isfinite().all()
    return float((patched - rig.sample(model, **STEP)).abs().max())


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_unets_get_keys_and_values_of_their_type(dtype):
    rig = Rig("sd15", dtype=dtype)
    model = rig.bare()
    model.model.manual_cast_dtype = None  # compute in the weights' type, as a GPU does
    seen = set()
    patched = rig.follow(model)
    patched.set_model_attn2_output_patch(lambda n, options: (seen.add(n.dtype), n)[1])
    assert rig.sample(patched, **STEP).isfinite().all()
    wanted = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    assert seen == {wanted} == {storage_type(model)}
    assert changes(rig, model) > 0


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_eight_bit_weights_compute_in_another_type_and_keys_and_values_follow(monkeypatch, dtype):
    monkeypatch.setitem(unets.DTYPES, "fp8", dtype)
    rig = Rig("sd15", dtype="fp8")
    model = rig.bare()
    assert model.model.get_dtype() == dtype
    assert storage_type(model) == model.model.manual_cast_dtype == torch.float32, "what a CPU computes in"
    assert changes(rig, model) > 0


def test_packed_weights_do_not_hide_the_widths_of_layers():
    model = RIG.bare()
    before = find_sites(model.model.diffusion_model)
    for transformer in [m for m in model.model.diffusion_model.modules() if hasattr(m, "attn2")]:
        pack_linears(transformer)
    packed = model.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn2.to_k
    assert packed.weight.shape[1] == 768 // 2
    assert find_sites(model.model.diffusion_model) == before
    assert changes(RIG, model) > 0


def test_little_memory_splits_the_batch_and_gives_the_same_picture(monkeypatch):
    patched = RIG.chain(RIG.bare(), 2, mask=half_mask(), weight_type="style transfer precise")
    together = RIG.sample(patched)
    calls = []
    monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 0)  # ComfyUI then sends row by row
    patched.set_model_attn2_output_patch(lambda n, options: (calls.append(options["cond_or_uncond"]), n)[1])
    apart = RIG.sample(patched)
    assert {tuple(labels) for labels in calls} == {(0,), (1,)}
    # One row rounds otherwise, and CFG amplifies: up to 0.0014 of 3.8, on ComfyUI 0.24 and 0.27 without AVX-512.
    torch.testing.assert_close(apart, together, rtol=2e-4, atol=1e-3)


@pytest.mark.parametrize("backend", ["attention_sub_quad", "attention_split", "attention_basic"])
def test_attention_backends_agree(monkeypatch, backend):
    patched = RIG.follow(RIG.bare(), mask=half_mask())
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    expected = RIG.sample(patched, **STEP)
    monkeypatch.setattr(host_attention, "optimized_attention", getattr(host_attention, backend))
    torch.testing.assert_close(RIG.sample(patched, **STEP), expected, rtol=1e-3, atol=1e-3)  # other orders of sums


def test_an_attention_override_sees_the_text_and_the_image_attention():
    rig = Rig("sd15", tokens=5)  # no grid of this UNet has five places
    patched = rig.follow(rig.bare())
    keys = []

    def override(attention, q, k, v, *args, **kwargs):
        keys.append(k.shape[-2])
        return attention(q, k, v, *args, **kwargs)

    expected = rig.sample(patched, **STEP)
    patched.model_options["transformer_options"]["optimized_attention_override"] = override
    assert torch.equal(rig.sample(patched, **STEP), expected)
    assert keys.count(77) == keys.count(5) == rig.layers, "text tokens, image tokens"


def test_moving_a_patch_changes_neither_its_type_nor_the_picture():
    patched = RIG.follow(RIG.bare(), mask=half_mask())
    expected = RIG.sample(patched, **STEP)
    for target in (torch.device("meta"), torch.float16):
        patched.model_patches_to(target)
    assert torch.equal(RIG.sample(patched, **STEP), expected)


def test_one_patch_serves_two_threads_at_once():
    """Multi-GPU clones call the same patch objects from a thread per device."""
    patched = RIG.chain(RIG.bare(), 2, mask=half_mask(3), images=3, per_frame=True)
    hooks_of(patched).plans.store.max_bytes = 30_000  # so that the threads also take things from each other
    options = patched.model_options["transformer_options"]
    patches = patches_of(patched)
    failures: list[BaseException] = []

    def once(labels, frames):
        attention = patches[0].site
        rows = len(labels) * frames
        q, k = (standins.seeded((rows, n, attention.channels), 1) for n in (64, 77))
        call = {**options, "n_heads": attention.heads, "activations_shape": [rows, 32, 8, 8], "cond_or_uncond": labels}
        return patches[0](q, k, k, call)

    kinds = [([1, 0], 3), ([0], 3), ([1], 1), ([0, 1], 2)]
    expected = [once(*kind) for kind in kinds]

    def work(offset):
        try:
            for turn in range(60):
                at = (turn + offset) % len(kinds)
                assert torch.equal(once(*kinds[at]), expected[at])
                if turn % 7 == offset:
                    hooks_of(patched).on_cleanup()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_a_clone_for_another_device_samples_the_same_picture():
    """deepclone_multigpu loads the model anew and takes over patches and wrappers."""
    model = RIG.bare()
    model.cached_patcher_init = (RIG.bare, ())
    patched = RIG.follow(model, mask=half_mask(), end_at=0.9)
    if not hasattr(patched, "deepclone_multigpu"):
        pytest.skip("ComfyUI 0.16 has no multi-GPU clones")
    other = patched.deepclone_multigpu(new_load_device=torch.device("cpu"))
    assert other.model is not patched.model
    assert torch.equal(RIG.sample(other), RIG.sample(patched))


@pytest.mark.parametrize("variant", ["standard", "plus"])
def test_an_adapter_whose_weights_arrive_late_as_with_dynamic_vram_computes_the_same(monkeypatch, variant):
    """Dynamic VRAM builds layers without weights, and gives them their file's when the state dict is loaded."""
    small = {} if variant == "standard" else {"dim": 64, "heads": 1, "depth": 1}
    sizes: dict[str, Any] = {"pooled": 32, "hidden": 64} | small
    state_dict = synthetic.adapter(variant, seed=5, context=768, channels=synthetic.sd15_channels(32), **sizes)
    checkpoint = read_checkpoint(state_dict, "late.safetensors")
    embeds = standins.seeded((1, 32) if variant == "standard" else (1, 257, 64), 1)

    def tokens_and_keys():
        network = manage(checkpoint).network
        tokens = network.project(embeds)
        return tokens, *network.keys_values(tokens, 1)

    expected = tokens_and_keys()
    if not hasattr(comfy.ops.disable_weight_init, "_lazy_load_from_state_dict"):
        pytest.skip("ComfyUI before 0.24 loads no weights late")
    monkeypatch.setattr("comfy.model_management.WINDOWS", True)  # before 0.30 no other system does
    monkeypatch.setattr("comfy.memory_management.aimdo_enabled", True)
    assert comfy.ops.manual_cast.Linear(2, 2).weight is None, "this is how such layers start"
    for one, other in zip(tokens_and_keys(), expected, strict=True):
        assert torch.equal(one, other)

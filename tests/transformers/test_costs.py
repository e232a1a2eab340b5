"""What image prompts add to a step on Flux and SD3.5, in operations, and that compiled models follow them."""

import inspect

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.flux.layers
import comfy.ldm.flux.math
import comfy.ldm.modules.attention as host_attention
import comfy.ldm.modules.diffusionmodules.mmdit
import comfy.samplers
import torch._dynamo
from comfy_extras.nodes_torch_compile import TorchCompileModel

import tiny_transformers as tiny
from benchmarks.memory import kept_bytes
from pack.nodes.sampling.attach import hooks_of
from pack.nodes.sampling.compiled import with_empty_output
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from test_nodes_pack.counting import count_step, host_reads, products, total
from transformer_rig import FAMILY, adapter, embeds, follow, sample, tiny_model

# Attend, unfold (2) and add; the queries of the picture's rows, and for InstantX in a double block their rows of the
# attention's output, taken out and put back (4).
# Releases of ComfyUI that do not show queries before their rotation: to float32 and back (2 of two each), pairs, flat,
# and one product with the rotation.
BACK = 0 if "attn1_patch" in inspect.getsource(comfy.ldm.flux.layers) else 6
SINGLE, XLABS, DOUBLE = 4 + BACK, 5 + BACK, 8 + BACK
FLUX = {"XLabs Flux": 2 * XLABS, "InstantX Flux": 2 * DOUBLE + 2 * SINGLE}
RISING = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))


def steps_of(model, family):
    return lambda steps: sample(model, family, tuple(torch.linspace(1.0, 0.0, steps + 1).tolist()), cfg=3.0)


def added(model, bare, family):
    counts = count_step(model, steps_of(model, family))
    counts.subtract(count_step(bare, steps_of(bare, family)))
    return counts


@pytest.fixture(autouse=True)
def one_backend(monkeypatch):
    """The one of a GPU, where all of SD3.5 is one graph; each of these modules has imported it by name."""
    for module in (host_attention, comfy.ldm.flux.math, comfy.ldm.modules.diffusionmodules.mmdit):
        monkeypatch.setattr(module, "optimized_attention", host_attention.attention_pytorch)


@pytest.mark.parametrize("kind", FLUX)
def test_keys_and_values_of_flux_cost_no_product_in_a_step_and_idle_blocks_and_steps_nothing(kind):
    bare, loaded = tiny_model("flux"), adapter(kind)
    one = added(follow(bare, loaded, embeds(kind)), bare, "flux")
    assert products(one) == host_reads(one) == 0
    assert total(one) == FLUX[kind]
    first = added(follow(bare, loaded, embeds(kind), layer_weights="double0:1"), bare, "flux")
    assert total(first) == (XLABS if kind == "XLabs Flux" else DOUBLE)
    assert total(added(follow(bare, loaded, embeds(kind), weight=0.0), bare, "flux")) == 0
    scheduled = added(follow(bare, loaded, embeds(kind), schedule=RISING), bare, "flux")
    assert products(scheduled) == 0 and host_reads(scheduled) == 1
    outside = added(follow(bare, loaded, embeds(kind), start_at=1.0, end_at=1.0), bare, "flux")
    assert host_reads(outside) == 1 and total(outside) <= 2


def test_keys_and_values_of_sd35_cost_one_pair_per_step_and_block_and_one_read_of_sigma():
    kind, bare, loaded = "InstantX SD3.5", tiny_model("sd3.5"), adapter("InstantX SD3.5")
    both = added(follow(bare, loaded, embeds(kind)), bare, "sd3.5")
    first = added(follow(bare, loaded, embeds(kind), layer_weights="joint0:1"), bare, "sd3.5")
    assert host_reads(both) == host_reads(first) == 1
    assert products(both) - products(first) == 3  # keys, values and the modulation of one block
    assert total(added(follow(bare, loaded, embeds(kind), weight=0.0), bare, "sd3.5")) == 0


@pytest.mark.parametrize("kind", FAMILY)
def test_the_device_keeps_the_bytes_that_the_benchmark_says_and_the_adapter_only_of_sd35(kind):
    family, loaded, seen = FAMILY[kind], adapter(kind), []
    model = follow(tiny_model(family), loaded, embeds(kind))

    def look(model_of_step, x, sigmas, extra_args=None, **_):
        for sigma in sigmas[:2]:
            model_of_step(x, sigma.expand(len(x)), **(extra_args or {}))
            seen.append(hooks_of(model).plans.store.bytes)
        return x

    sample(model, family, (1.0, 0.5, 0.0), cfg=3.0, sampler=comfy.samplers.KSAMPLER(look))
    sizes = tiny.ADAPTERS[kind]
    tokens = loaded.network.project(embeds(kind)).shape[1] if family == "flux" else 6
    both_rows = kept_bytes([sizes["channels"]] * sizes["blocks"], tokens) * 2  # float32 here
    norms = 2 * tiny.HEAD[family] * 4 * sizes["blocks"] if family == "sd3.5" else 0  # SD3.5's own, of queries and keys
    order = 2 * torch.int64.itemsize if family == "sd3.5" else 0  # which images the rows see
    assert seen == [both_rows + norms + order] * 2  # of SD3.5, only the pairs of the moment
    assert bool(model.model_patches_models()) == (family == "sd3.5")
    assert hooks_of(model).plans.store.bytes == 0


@pytest.mark.parametrize("kind", ["XLabs Flux", "InstantX SD3.5"])
def test_a_compiled_model_follows_prompts_that_come_change_and_go(kind):
    family = "flux" if kind == "XLabs Flux" else "sd3.5"
    bare, loaded = tiny_model(family), adapter(kind)
    torch._dynamo.reset()
    first = follow(bare, loaded, embeds(kind))
    one_block = follow(bare, loaded, embeds(kind), layer_weights=f"{'double' if family == 'flux' else 'joint'}0:1")
    for model in (bare, first, follow(bare, loaded, embeds(kind, 2), weight=0.4), one_block, bare, first):
        compiled = TorchCompileModel.execute(model, "eager").args[0]
        torch.testing.assert_close(sample(compiled, family), sample(model, family), rtol=0, atol=1e-5)
    torch._dynamo.reset()


def test_a_controlnet_keeps_what_it_gives_sd35_and_tells_graphs_apart_by_one_place_more():
    given = {"output": [torch.ones(1), None], "middle": []}
    model = tiny_model("sd3.5").model
    assert with_empty_output(model, given) == {"output": [*given["output"], None], "middle": []}
    assert with_empty_output(model, None) == {"output": [None]}
    assert len(given["output"]) == 2 and with_empty_output(tiny_model("flux").model, given) is given

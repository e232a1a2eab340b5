"""ComfyUI's own TorchCompileModel: one graph for all image prompts, and always the picture of the uncompiled model."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.modules.attention as host_attention
import torch._dynamo
from comfy_extras.nodes_torch_compile import TorchCompileModel
from torch._dynamo.utils import counters

from pack.nodes.applying.riding import Looks, ride_along
from performance.rig import Rig, half_mask, patches_of
from test_nodes_pack import standins

RIG = Rig("two layers")  # the fewest: tracing takes a second for each


@pytest.fixture(autouse=True)
def one_backend(monkeypatch):
    """Sub-quadratic attention, the default on a bare CPU, asks the system for free memory, which no graph can hold."""
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def same(model) -> bool:
    """The compiled model samples the latent of the uncompiled one. Tracing is real; "eager" only leaves out the C++."""
    compiled = TorchCompileModel.execute(model, "eager").args[0]
    return torch.equal(RIG.sample(compiled), RIG.sample(model))


def test_one_graph_serves_all_prompts_weights_pictures_and_steps():
    model = RIG.bare()
    assert same(model), "before any image prompt"
    assert graphs() == 1
    first = RIG.follow(model)
    assert same(first), "the bare model's graph is not taken"
    assert graphs() == 2
    for changed in (
        RIG.follow(model, weight=0.3),
        RIG.follow(model, seed=9),
        RIG.follow(model, layer_weights="1:1"),
        RIG.follow(model, mask=half_mask()),
        RIG.follow(model, start_at=0.4, end_at=0.7),
        RIG.follow(first, seed=9, scaling="K+V"),
        model,
        first,
    ):
        assert same(changed)
    compiled_first = RIG.follow(TorchCompileModel.execute(model, "eager").args[0], weight=0.7)
    assert torch.equal(RIG.sample(compiled_first), RIG.sample(RIG.follow(model, weight=0.7)))
    assert torch.equal(RIG.sample(compiled_first, steps=4), RIG.sample(RIG.follow(model, weight=0.7), steps=4))
    assert graphs() == 2
    assert not counters["graph_break"]


def test_an_attention_that_breaks_graphs_gives_the_uncompiled_picture(monkeypatch):
    """Each block has a graph of its own then, and the bare model's would serve a model with image prompts as well.

    A single block shows it: every break is traced again.
    """
    rig = Rig("one layer")

    def breaking(*args, **kwargs):
        torch._dynamo.graph_break()
        return host_attention.attention_pytorch(*args, **kwargs)

    monkeypatch.setattr(host_attention, "optimized_attention", breaking)
    model = rig.bare()
    compiled = TorchCompileModel.execute(model, "eager").args[0]
    bare = rig.sample(compiled, steps=1)
    for changed in (rig.follow, ride):
        expected = rig.sample(changed(model), steps=1)
        assert torch.equal(rig.sample(changed(compiled), steps=1), expected) and not torch.equal(expected, bare)


def ride(under, **looks):
    return ride_along(under, {"samples": standins.seeded((1, 4, 8, 8), 3)}, None, Looks(**{"layers": "all"} | looks))


def test_foreign_patches_before_and_after_ours_are_followed():
    model = RIG.bare()
    theirs = model.clone()
    theirs.set_model_attn2_replace(lambda q, k, v, options: torch.zeros_like(q), "input", 2)
    assert same(RIG.follow(theirs)) and same(RIG.follow(theirs, weight=0.5))

    def halved(weight: float):
        outer = RIG.follow(model, weight=weight).clone()
        inner = patches_of(outer)[0]
        outer.set_model_attn2_replace(lambda q, k, v, options: inner(q, k, v, options) * 0.5, *inner.site.block)
        return outer

    assert same(halved(1.0)) and same(halved(0.5))


def test_a_graph_called_around_the_samplers_says_so():
    patched = RIG.follow(RIG.bare())
    unet = torch.compile(patched.model.diffusion_model, backend="eager")
    x, text, y = torch.zeros(2, 4, 8, 8), torch.zeros(2, 77, 2048), torch.zeros(2, 2816)
    with pytest.raises(RuntimeError, match="Sample it with a ComfyUI sampler"):
        unet(x, torch.zeros(2), text, y=y, transformer_options=dict(patched.model_options["transformer_options"]))


@pytest.mark.skipif(
    not hasattr(torch.Tag, "cudagraph_unsafe"), reason="this PyTorch has no such tag, so a graph is refused"
)
def test_cuda_graphs_leave_the_image_attention_out():
    """Replaying it would bring back the keys and values of the run that was recorded."""
    assert torch.Tag.cudagraph_unsafe in torch.ops.ipadapter_atelier.attend.default.tags


def test_riding_references_are_followed_in_every_step_and_layer():
    model = RIG.bare()
    assert same(model)
    for changed in (ride(model), ride(model, weight=0.5, start_at=0.4), ride(RIG.follow(model)), model, ride(model)):
        assert same(changed)
    around = ride(TorchCompileModel.execute(model, "eager").args[0], start_at=0.4)
    assert torch.equal(RIG.sample(around, steps=4), RIG.sample(ride(model, start_at=0.4), steps=4))
    assert not counters["graph_break"]

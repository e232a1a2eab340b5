"""What ComfyUI does with attention from 0.32 on, emulated on this release: preferences, containers and other kernels.

Emulated as far as it is known: a wrapper of every attention function takes a layer's `preferred_attention`, follows it
where no override stands, and hands an override plain tensors in place of containers.
"""

import functools

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.flux.math
import comfy.ldm.modules.attention as host_attention
import comfy.ldm.modules.diffusionmodules.mmdit

import pack.nodes.sampling.compiled  # noqa: F401  # registers its operation
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along
from pack.weight_schedules.schedule import WeightSchedule
from performance.rig import Rig
from references import edit_models
from test_nodes_pack.standins import seeded
from transformer_rig import FAMILY, adapter, embeds, follow, sample, tiny_model

OVERRIDE, KERNEL = "optimized_attention_override", "int8"
RAW = host_attention.attention_pytorch.__wrapped__


class Container:
    """A tensor on its way to an attention function."""

    def __init__(self, tensor):
        self.tensor = tensor

    def take(self):
        return self.tensor


@pytest.fixture
def kernels(monkeypatch):
    """The kernels that the newer host chose, in the order of its attention calls."""
    chosen = []

    @functools.wraps(RAW)
    def attention_pytorch(q, k, v, heads, *args, preferred_attention=None, transformer_options=None, **kwargs):
        q, k, v = (x.take() if isinstance(x, Container) else x for x in (q, k, v))
        options = transformer_options or {}
        if OVERRIDE in options and not kwargs.pop("_inside_attn_wrapper", False):
            more = {"preferred_attention": preferred_attention, "transformer_options": options}
            return options[OVERRIDE](RAW, q, k, v, heads, *args, _inside_attn_wrapper=True, **more, **kwargs)
        chosen.append(preferred_attention)
        return RAW(q, k, v, heads, *args, **kwargs)

    def of_a_layer(q, k, v, *args, **kwargs):
        q, k, v = map(Container, (q, k, v))
        return attention_pytorch(q, k, v, *args, preferred_attention=KERNEL, **kwargs)

    for name in ("attention_pytorch", "optimized_attention"):
        monkeypatch.setattr(host_attention, name, attention_pytorch)
    for module in (comfy.ldm.flux.math, comfy.ldm.modules.diffusionmodules.mmdit):
        monkeypatch.setattr(module, "optimized_attention", of_a_layer)
    return chosen


@pytest.mark.parametrize("kind", FAMILY)
def test_a_block_with_image_prompts_follows_its_preferred_attention_and_they_do_not(kernels, kind):
    family = FAMILY[kind]
    bare = tiny_model(family)
    without = sample(bare, family)
    wanted = list(kernels)
    kernels.clear()
    assert not sample(follow(bare, adapter(kind), embeds(kind)), family).equal(without)
    assert wanted and set(wanted) == {KERNEL}
    assert kernels == wanted


def test_another_packs_override_still_replaces_the_attention_of_a_block(kernels):
    def theirs(function, q, k, v, *args, **kwargs):
        seen.append(q.shape[2])
        return function(q, k, v, *args, **kwargs)

    seen: list[int] = []
    model = tiny_model("flux")
    model.model_options["transformer_options"][OVERRIDE] = theirs
    sample(model, "flux")
    text_and_picture = list(seen)
    sample(follow(model, adapter("XLabs Flux"), embeds("XLabs Flux")), "flux")
    added = seen[len(text_and_picture) :]
    assert [tokens for tokens in added if tokens in text_and_picture] == text_and_picture
    assert len(added) == 1.5 * len(text_and_picture), "the two double blocks of four attend to image tokens too"


def test_a_cross_attention_with_image_prompts_follows_its_preferred_attention(kernels):
    rig = Rig("sd15")
    model = rig.bare()
    attentions = [m.attn2 for m in model.model.diffusion_model.modules() if hasattr(m, "attn2")]
    for attention in attentions:
        attention.preferred_attention = KERNEL
    rig.sample(rig.follow(model), steps=1)
    assert kernels.count(KERNEL) == len(attentions) == rig.layers


def test_a_self_attention_with_a_riding_reference_follows_its_preferred_attention(kernels):
    rig = Rig("sd15")
    model = rig.bare()
    for module in model.model.diffusion_model.modules():
        if hasattr(module, "attn1"):
            module.attn1.preferred_attention = KERNEL
    rig.sample(ride_along(model, {"samples": seeded((1, 4, 8, 8), 3)}, None, Looks(0.5, layers="all")), steps=1)
    # In the reference's call once, and in the picture's to its own tokens and to the reference's.
    assert kernels.count(KERNEL) == 3 * rig.layers


def test_an_edit_model_with_weighed_or_riding_references_follows_its_preferred_attention(kernels):
    """A layer whose weights are 1 as it does without the node; where keys are weighed, logits have a bias, which only
    PyTorch's attention adds.
    """
    kind = edit_models.MODELS["Flux Kontext"]
    references = kind.latent(11), kind.latent(12, edit_models.OTHER)

    def kernels_of(model):
        kernels.clear()
        edit_models.sample(model, kind, references, steps=1)
        return list(kernels)

    bare = kernels_of(edit_models.model_of(kind))
    assert set(bare) == {KERNEL} and len(bare) == kind.layers
    schedule = WeightSchedule("all:1, double0:0.5")
    weighed = kernels_of(weigh_references(edit_models.model_of(kind), 1, 1.0, 0.0, 1.0, schedule=schedule))
    others = kind.layers - 1
    assert weighed[-others:] == [KERNEL] * others and None in weighed[:-others]
    riding = ride_along(edit_models.model_of(kind), {"samples": kind.latent(13)}, None, Looks(0.5, layers="late"))
    assert kernels_of(riding).count(KERNEL) >= 2 * kind.layers, "in the reference's call and in the picture's"


@pytest.mark.skipif(
    not hasattr(torch.Tag, "cudagraph_unsafe"), reason="this PyTorch has no such tag, so a graph is refused"
)
def test_a_recorded_cuda_graph_leaves_out_the_operation_that_reads_prompts():
    assert torch.Tag.cudagraph_unsafe in torch.ops.ipadapter_atelier.attend.default.tags

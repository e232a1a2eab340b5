"""Weighed references beside what else a model may have, and what is refused or said."""

import logging
import re
from dataclasses import replace
from inspect import getsource

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.flux.layers as flux_layers
import comfy.ldm.flux.math as flux_math
import comfy.ldm.modules.attention as host_attention
import comfy.ops
import comfy_extras.nodes_flux as nodes_flux

import transformer_rig
from pack.ipadapter.errors import AdapterError, ModelMismatchError
from pack.ipadapter.sequences import check_takes_references
from pack.nodes.applying.references import weigh_references
from pack.nodes.sampling.attach import attached_prompts, change_prompts, layers_of, sites_of
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from references.edit_models import FLUX, METHOD, MODELS, OTHER, EditModel, attentions, model_of, sample
from test_nodes_pack.unets import tiny_model

ROUNDING = 2e-5  # of the largest value, in float32: a bias takes other kernels, and its logarithms round
KONTEXT = MODELS["Flux Kontext"]
LEFT = torch.tensor([1.0, 1, 0, 0, 0, 0]).expand(1, 8, 6)


@pytest.fixture(scope="module")
def references():
    return KONTEXT.latent(11), KONTEXT.latent(12, OTHER)


BUILT_OTHERWISE = (
    ("wan.model", "WanModel", {}), ("omnigen.omnigen2", "OmniGen2Transformer2DModel", {}),
    ("boogu.model", "BooguTransformer2DModel", {}), ("hidream_o1.model", "HiDreamO1Transformer", {}),
    ("joyimage.model", "JoyImageTransformer3DModel", {}), ("lumina.model", "NextDiT", {"siglip_feat_dim": 8}),
)  # fmt: skip


def gap(one, other):
    """The largest difference, as a part of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def weigh(model, weight=1.0, reference=0, start_at=0.0, end_at=1.0, **more):
    return weigh_references(model, reference, weight, start_at, end_at, **more)


# ComfyUI's Flux KV Cache: from the second step on there are no rows of references, only their keys


@pytest.mark.skipif(not hasattr(nodes_flux, "FluxKVCache"), reason="this ComfyUI has no Flux KV Cache")
class TestFluxKVCache:
    def sampled(self, build, count=2, **run):
        kind = MODELS["Flux.2"]
        model = build(nodes_flux.FluxKVCache.execute(model_of(kind)).args[0])
        return sample(model, kind, (kind.latent(11), kind.latent(12, OTHER))[:count], steps=3, **run)

    def test_weights_are_those_of_a_model_without_it_or_with_fewer_references(self):
        own, none, first = (self.sampled(lambda model: model, count) for count in (2, 0, 1))
        assert gap(own, none) > 1e-3 and gap(own, first) > 1e-3
        assert self.sampled(weigh).equal(own)
        assert self.sampled(lambda model: weigh(model, 0.0)).equal(none)
        assert gap(self.sampled(lambda model: weigh(model, 0.0, reference=2)), first) < ROUNDING
        halves = self.sampled(lambda model: weigh(weigh(model, mask=LEFT), mask=LEFT.flip(2)))
        assert halves.equal(none)

    def test_a_reference_whose_range_ends_is_left_out_of_the_cached_keys(self):
        both, first = [], []
        ranged = {"reference": 2, "end_at": 0.3}
        self.sampled(lambda model: attentions(weigh(model, **ranged), lambda q, k, mask: both.append(k.shape[2])))
        self.sampled(lambda model: attentions(model, lambda q, k, mask: first.append(k.shape[2])), count=1)
        tokens, step = OTHER[0] * OTHER[1], len(first) // 3
        assert both[:step] == [count + tokens for count in first[:step]]
        assert both[-step:] == first[-step:]


# Image prompts, overrides, compiled graphs


@pytest.fixture(scope="module")
def prompted():
    """A tiny Flux of the published widths, and what lets it follow an image prompt as well."""
    loaded = transformer_rig.adapter("XLabs Flux")
    seen = transformer_rig.embeds("XLabs Flux")
    return transformer_rig.tiny_model("flux"), lambda model, **more: transformer_rig.follow(model, loaded, seen, **more)


def flux(model, references, **run):
    given = {"reference_latents": list(references), METHOD: "offset"} if references else {}
    return transformer_rig.sample(model, "flux", positive=transformer_rig.texts("flux", 10, **given), **run)


def test_image_prompts_and_weights_do_not_know_of_each_other(prompted, references, caplog):
    bare, follow = prompted
    plain = flux(follow(bare), references)
    half, half_heard = flux(weigh(follow(bare), 0.5), references), weigh(bare, 0.5)
    assert gap(half, plain) > 1e-4 and gap(half, flux(weigh(bare, 0.5), references)) > 1e-4
    same = {
        "weight 1": (weigh(follow(bare)), references, plain),
        "weight 0": (weigh(follow(bare), 0.0), references, flux(follow(bare), ())),
        "the other order": (follow(weigh(bare, 0.5)), references, half),
        "in between": (weigh(follow(weigh(bare, 2.0)), 0.25), references, half),
        "image prompts of weight 0": (follow(half_heard, weight=0.0), references, flux(half_heard, references)),
        "changed prompts": (change_prompts(weigh(follow(bare), 0.5), lambda prompt: prompt), references, half),
        "a clone": (weigh(follow(bare), 0.5).clone(), references, half),
    }
    wrong = [title for title, (model, given, wanted) in same.items() if not flux(model, given).equal(wanted)]
    assert wrong == []
    assert "custom node" not in caplog.text  # the attention to an image prompt has no tokens of references
    assert len(attached_prompts(weigh(follow(bare)))) == 1 and not attached_prompts(weigh(bare))


def test_another_packs_override_still_gets_what_needs_no_bias(references):
    """A pass-through changes no bit; a bias goes to the attention that is known to take one."""
    masks = []
    for weight in (1.0, 0.0, 0.5):
        model = weigh(model_of(KONTEXT), weight, reference=1)
        watched = attentions(model, lambda q, k, mask: masks.append(mask))
        assert sample(watched, KONTEXT, references).equal(sample(model, KONTEXT, references))
    assert masks and set(masks) == {None}


def test_a_compiled_model_is_the_uncompiled_one_whatever_the_weights():
    compiling = pytest.importorskip("comfy_extras.nodes_torch_compile", reason="this ComfyUI cannot compile models")
    torch._dynamo.reset()
    kind = EditModel("Flux", FLUX | {"depth": 1, "depth_single_blocks": 1}, 2, more={METHOD: "offset"})
    bare, given = model_of(kind), [kind.latent(11)]
    compiled = compiling.TorchCompileModel.execute(bare, "eager").args[0]
    for weight in (None, 0.5, 1.0, None):  # None: without the node
        models = [model if weight is None else weigh(model, weight) for model in (bare, compiled)]
        plain, graph = (sample(model, kind, given, steps=1) for model in models)
        assert gap(graph, plain) < ROUNDING, weight
    torch._dynamo.reset()


def test_image_prompts_on_a_compiled_model_act_beside_references_of_any_size(prompted, references, monkeypatch):
    """Conditionings with references bring keywords of their own, of which torch.compile guards only what is read."""
    compiling = pytest.importorskip("comfy_extras.nodes_torch_compile", reason="this ComfyUI cannot compile models")
    monkeypatch.setattr(flux_math, "optimized_attention", host_attention.attention_pytorch)  # without it, 10 s more
    bare, follow = transformer_rig.tiny_model("flux", single=1), prompted[1]
    compiled = compiling.TorchCompileModel.execute(bare, "eager").args[0]
    builds = {
        "bare": lambda model: model,
        "prompt": follow,
        "bare again": lambda model: model,
    }
    torch._dynamo.reset()
    wrong = [
        title for title, build in builds.items()
        if gap(*(flux(build(model), references, sigmas=(1.0, 0.0)) for model in (compiled, bare))) > ROUNDING
    ]  # fmt: skip
    assert wrong == []
    torch._dynamo.reset()


# What is said, and refused


def said(caplog, build, references, **run):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        sample(build(model_of(KONTEXT)), KONTEXT, references, **run)
    return [record.getMessage() for record in caplog.records if "pack." in record.name]


def test_a_run_says_once_that_references_are_missing(caplog, references):
    assert said(caplog, weigh, references) == []
    assert said(caplog, weigh, references, cfg=2.0, negative=()) == []
    (none,) = said(caplog, weigh, ())
    assert "Add Set Reference Latent to the conditioning" in none
    (few,) = said(caplog, lambda model: weigh(weigh(model, 0.5), 0.5, reference=3), references)
    assert "set for reference 3" in few and "bring 2" in few


@pytest.mark.skipif("Krea 2" not in MODELS, reason="this ComfyUI has no Krea 2 with references")
def test_krea_2_without_a_method_leaves_references_out_and_says_so(caplog):
    kind = MODELS["Krea 2"]
    model, without = model_of(kind), replace(kind, more={})
    with caplog.at_level(logging.WARNING):
        latents = sample(weigh(model, 0.5), without, [kind.latent(11)])
    assert latents.equal(sample(model, without, ()))
    assert "Add Edit Model Reference Method to the conditioning" in caplog.text


@pytest.mark.skipif("attn1_patch" not in getsource(flux_layers), reason="this ComfyUI has no such hook in Flux")
def test_another_packs_tokens_among_the_keys_are_left_alone_and_said(caplog, references):
    def more_keys(q, k, v, **_):
        return {"q": q, "k": torch.cat((k, k[:, :, :3]), 2)[:, :, 14:], "v": torch.cat((v, v[:, :, :3]), 2)[:, :, 14:]}

    def patched(model):
        clone = model.clone()
        clone.set_model_attn1_patch(more_keys)
        return clone

    plain = sample(patched(model_of(KONTEXT)), KONTEXT, references)
    assert sample(weigh(patched(model_of(KONTEXT)), 0.5), KONTEXT, references).equal(plain)
    assert "so the references could not be weighed there" in caplog.text


def test_attentions_that_another_pack_runs_in_its_own_way_are_said_to_be_out_of_reach(caplog, references, monkeypatch):
    """As packs do that load a model for kernels of their own."""
    past_the_hook = host_attention.attention_pytorch.__wrapped__
    for module in (flux_math, host_attention):
        monkeypatch.setattr(module, "optimized_attention", past_the_hook)
    plain = sample(model_of(KONTEXT), KONTEXT, references)
    assert sample(weigh(model_of(KONTEXT), 0.5), KONTEXT, references).equal(plain)
    assert caplog.text.count("the model's attentions were not reached") == 1
    assert said(caplog, weigh, references) == said(caplog, lambda model: weigh(model, 0.0), references) == []


WRONG = {
    "weight": ({"weight": -0.5}, "goes down to -0.5: a reference can be left out (0), not subtracted"),
    "NaN": ({"weight": float("nan")}, "weight is nan"),
    "schedule": ({"schedule": WeightSchedule("all", StepCurve("linear down", -1.0, 1.0))}, "goes down to -1"),
    "frames": ({"schedule": WeightSchedule("all", frames=(1.0, -0.25))}, "goes down to -0.25"),
    "product": ({"weight": 10.0, "schedule": WeightSchedule("all", scale=200.0)}, "product of weight, layers"),
    "range": ({"start_at": 0.8, "end_at": 0.2}, "start_at (0.8) lies after end_at (0.2)"),
    "mask": ({"mask": torch.zeros(1, 2, 3, 4, 5)}, "attn_mask must be a mask of shape"),
    "type": ({"schedule": WeightSchedule("style transfer")}, "nobody has published for a transformer such as this"),
    "layer": ({"schedule": WeightSchedule("all, 4:1")}, "'4' is no layer of this model. It has: 0-1 (double0-1), 2-3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_meant_is_refused_before_sampling(name):
    inputs, message = WRONG[name]
    with pytest.raises((AdapterError, ValueError), match=re.escape(message)):
        weigh(model_of(KONTEXT), **inputs)


def test_models_without_references_of_their_own_are_refused_by_their_class():
    takes_none = {
        "UNetModel": tiny_model("sdxl", 1),
        "Chroma": transformer_rig.model_of("chroma"),
        "OpenAISignatureMMDITWrapper": transformer_rig.tiny_model("sd3.5"),
    }
    for name, model in takes_none.items():
        with pytest.raises(ModelMismatchError) as refused:
            weigh(model)
        assert str(refused.value) == (
            f"This model ({name}) takes no reference pictures of its own. IPAdapter Reference Attention lets it follow "
            "one."
        )


def test_edit_models_that_are_built_in_another_way_are_refused_by_their_class():
    for folder, name, more in BUILT_OTHERWISE:
        module = pytest.importorskip(f"comfy.ldm.{folder}", reason="this ComfyUI has no such model")
        network = getattr(module, name)(operations=comfy.ops.disable_weight_init, device="meta", **more)
        with pytest.raises(ModelMismatchError, match=rf"This model \({name}\) takes reference pictures, but"):
            check_takes_references(network)


def test_a_model_of_another_packs_own_class_is_to_be_loaded_with_comfyuis_loader():
    class ComfyFluxWrapper(torch.nn.Module):
        """As nunchaku wraps its quantised transformers."""

    with pytest.raises(ModelMismatchError, match=r"This model \(ComfyFluxWrapper\) has another pack's own class"):
        check_takes_references(ComfyFluxWrapper())


@pytest.mark.parametrize("title", [title for title in MODELS if not title.startswith("Flux")])
def test_adapters_are_refused_for_models_that_have_layers_and_no_sites(title):
    model, kind = model_of(MODELS[title]), MODELS[title]
    assert layers_of(model) == tuple(("block", number) for number in range(kind.layers))
    with pytest.raises(ModelMismatchError, match="IP-Adapter needs a UNet with cross-attention.*Flux or SD3.5"):
        sites_of(model)

"""A riding reference in a transformer beside what else acts in its blocks and attentions."""

from itertools import permutations
from typing import Any

import pytest
import torch
from comfy_extras.nodes_torch_compile import TorchCompileModel
from torch import Tensor
from torch._dynamo.utils import counters

import transformer_rig
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.attention_map import recorder_of
from pack.nodes.sampling.attach import watch
from pack.weight_schedules.schedule import WeightSchedule
from references.edit_models import METHOD, MODELS, OTHER, attentions, model_of as edit_model, sample
from test_nodes_pack.standins import seeded
from test_nodes_pack.transformers import TRANSFORMERS, model_of

ADAPTERS = ("XLabs Flux", "InstantX Flux", "InstantX SD3.5")
LATENT = {"samples": seeded((1, 16, 8, 8), 11)}


def ride(model: Any, latent: Any = LATENT, **looks: Any) -> Any:
    return ride_along(model, latent, None, Looks(**{"layers": "all", "competes": True, "weight": 0.5} | looks))


def drawn(kind: str, model: Any, **looks: Any) -> Tensor:
    return sample(ride(model, {"samples": TRANSFORMERS[kind].latent(11)}, **looks), TRANSFORMERS[kind], (), cfg=2.0)


def gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_image_prompts_and_riding_references_both_act_in_any_order(adapter):
    family = transformer_rig.FAMILY[adapter]
    loaded, seen = transformer_rig.adapter(adapter), transformer_rig.embeds(adapter)

    def follow(model: Any) -> Any:
        return transformer_rig.follow(model, loaded, seen)

    def drawn(model: Any) -> Tensor:
        return transformer_rig.sample(model, family, (0.8, 0.0))

    bare = transformer_rig.tiny_model(family)
    both = drawn(ride(follow(bare)))
    assert drawn(follow(ride(bare))).equal(both)
    assert gap(both, drawn(ride(bare))) > 1e-4 and gap(both, drawn(follow(bare))) > 1e-4
    assert drawn(follow(ride(bare, weight=0.0))).equal(drawn(follow(bare)))


def test_an_image_prompt_a_weighed_reference_and_a_riding_one_act_each_in_its_mask_in_any_order(caplog):
    loaded, seen = transformer_rig.adapter("XLabs Flux"), transformer_rig.embeds("XLabs Flux")
    left = torch.tensor([1.0, 1, 0, 0]).expand(1, 4, 4)
    ways: dict[str, Any] = {
        "prompt": lambda model: transformer_rig.follow(model, loaded, seen, mask=left, end_at=0.9),
        "weighed": lambda model: weigh_references(model, 1, 2.0, 0.0, 0.8, 1 - left, WeightSchedule("all, 0:0.5")),
        "riding": lambda model: ride(model, mask=left.mT, schedule=WeightSchedule("0:0.5, 2:0.25")),
    }
    bare = transformer_rig.tiny_model("flux")
    own = {"reference_latents": [seeded((1, 16, 8, 8), 3)], METHOD: "offset"}

    def drawn(names: Any, watched: bool = False) -> Tensor:
        model = bare
        for name in names:
            model = ways[name](model)
        model = watch(model, recorder_of(model)) if watched else model
        positive = transformer_rig.texts("flux", 10, **own)
        return transformer_rig.sample(model, "flux", (0.8, 0.4, 0.0), positive=positive)

    wanted = drawn(ways)
    assert [names for names in permutations(ways) if not drawn(names).equal(wanted)] == []
    assert drawn(ways, watched=True).equal(wanted)
    fewer = [drawn([name for name in ways if name != left_out]) for left_out in ways]
    assert min(gap(wanted, other) for other in fewer) > 1e-4
    assert "custom node" not in caplog.text


def test_a_block_that_another_pack_skips_is_skipped_and_others_keep_their_references():
    """As Skip Layer Guidance does: the attention of the block never runs, so attentions cannot be counted."""
    calls = []

    def skipped(args: Any, extra: Any) -> Any:
        calls.append(len(args["img"]))
        return args

    for kind, block in (("SD3.5 Medium", "double_block"), ("Flux", "double_block")):
        model = model_of(TRANSFORMERS[kind]).clone()
        model.set_model_patch_replace(skipped, "dit", block, 0)
        alone = sample(model, TRANSFORMERS[kind], (), cfg=2.0)
        calls.clear()
        assert drawn(kind, model, schedule=WeightSchedule("0:1")).equal(alone), kind
        assert calls == [2, 2]  # in the picture's calls, and not in the reference's
        assert gap(drawn(kind, model, schedule=WeightSchedule("1:1")), alone) > 1e-3, kind


def test_another_packs_override_gets_what_needs_no_bias():
    for kind in ("Flux", "SD3.5 Medium", "Z-Image"):
        bare, masks = model_of(TRANSFORMERS[kind]), []
        watched = attentions(bare, lambda q, k, mask, masks=masks: masks.append((q.shape, mask)))
        for how in ({}, {"competes": False}):
            assert drawn(kind, watched, **how).equal(drawn(kind, bare, **how)), kind
        assert {mask for _, mask in masks} == {None}
        assert any(shape[:2] == (2, 12) for shape, _ in masks), kind  # the picture's rows, which attend to a reference


def test_a_compiled_model_runs_without_its_graphs_where_references_act():
    counters.clear()
    bare = model_of(TRANSFORMERS["Flux"])
    kind, latent = TRANSFORMERS["Flux"], {"samples": TRANSFORMERS["Flux"].latent(11)}

    def compiled(model: Any) -> Any:
        return TorchCompileModel.execute(model, "eager").args[0]

    expected = drawn("Flux", bare)
    assert drawn("Flux", compiled(bare)).equal(expected)
    assert sample(compiled(ride(bare, latent)), kind, (), cfg=2.0).equal(expected)
    assert not counters["stats"]["unique_graphs"]


def test_a_cache_of_an_edit_models_references_holds_beside_a_riding_one():
    nodes_flux = pytest.importorskip("comfy_extras.nodes_flux")
    if not hasattr(nodes_flux, "FluxKVCache"):
        pytest.skip("this ComfyUI has no Flux KV Cache")
    kind = MODELS["Flux.2"]
    own, latent = (kind.latent(11), kind.latent(12, OTHER)), {"samples": kind.latent(3)}

    def cached(weight: float | None, **looks: Any) -> Tensor:
        model = nodes_flux.FluxKVCache.execute(edit_model(kind)).args[0]
        model = model if weight is None else ride(model, latent, weight=weight, **looks)
        return sample(model, kind, own, steps=3)

    bare = cached(None)
    assert cached(0.0).equal(bare)
    for how in ({}, {"competes": False}):
        seen = cached(0.5, **how)
        assert seen.isfinite().all() and gap(seen, bare) > 1e-3


def test_half_precision_stays_finite_and_close():
    wide, half = (
        transformer_rig.sample(ride(model), "flux", (0.8, 0.0))
        for model in (transformer_rig.tiny_model("flux"), transformer_rig.tiny_model("flux", dtype=torch.bfloat16))
    )
    assert half.isfinite().all() and gap(half, wide) < 0.1

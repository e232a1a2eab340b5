"""Packs that replace modules of a model by object patches, which ComfyUI leaves on the shared model between prompts."""

from typing import Any

import pytest
from torch import Tensor, nn

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from harness.client import PromptError
from harness.graph import Link
from harness.in_process import sample as sampled_here
from harness.sampling import sample
from harness.wiring import Wiring
from pack.ipadapter.errors import AdapterError, ModelMismatchError
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.sampling.attach import sites_of
from performance.rig import Rig
from test_nodes_pack.neighbours import Around
from test_nodes_pack.standins import seeded
from transformer_rig import FAMILY, adapter, embeds, follow, sample as sample_transformer, tiny_model

BLOCK, MIDDLE = "input_blocks.1.1.transformer_blocks.0", "middle_block.1.transformer_blocks.0"
REPLACED = {  # by path: the class that is put there
    f"{BLOCK}.attn2": "Around",
    BLOCK: "Unpatched",
    MIDDLE: "Around",
}
SAID = "Another node replaced modules of the model in 1 of 16 places"


def wiring(server, again: str) -> Wiring:
    """With a model of its own: ComfyUI leaves modules on a shared one."""
    w = Wiring(server)
    w.model = w.graph.add("TestModel", family="sd15", seed=1, again=again)[0]
    return w


def replaced(w: Wiring, model: Link, path: str, kind: str) -> Link:
    return w.graph.add("TestReplacedModule", model=model, path=path, kind=kind)[0]


def sampled(w: Wiring, model: Link) -> Tensor:
    """What a prompt samples from this model alone: any other would take another pack's modules off first."""
    w.graph.save("only", sample(w.graph, model)[0])
    return w.server.run(w.graph).tensor("only")


def test_a_pack_of_the_prompt_before_leaves_this_one_as_it_is(server):
    fresh = wiring(server, "fresh")
    wanted = sampled(fresh, fresh.add("IPAdapterAdvanced")[0])
    differing = []
    for path, kind in REPLACED.items():
        before = Wiring(server)
        sampled(before, replaced(before, before.model, path, kind))
        after = Wiring(server)  # the same MODEL, from ComfyUI's cache
        if not sampled(after, after.add("IPAdapterAdvanced")[0]).equal(wanted):
            differing.append(path)
    assert differing == []


def test_beside_a_module_that_has_what_a_patch_needs_image_prompts_act_in_either_order(server):
    w = wiring(server, "1")
    path = f"{BLOCK}.attn2"
    latents = w.latents(
        ours=w.add("IPAdapterAdvanced")[0],
        behind=w.add("IPAdapterAdvanced", model=replaced(w, w.model, path, "Projected"))[0],
        before=replaced(w, w.add("IPAdapterAdvanced")[0], path, "Projected"),
        around=w.add("IPAdapterAdvanced", model=replaced(w, w.model, MIDDLE, "Around"))[0],
    )
    assert [name for name in latents if latents[name].equal(latents["ours"])] == ["ours", "behind", "before", "around"]


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_an_attention_without_projections_is_refused_by_name_before_sampling(server, first):
    w = wiring(server, first)
    path = f"{BLOCK}.attn2"
    if first == "theirs":
        model = w.add("IPAdapterAdvanced", model=replaced(w, w.model, path, "Around"))[0]
    else:
        model = replaced(w, w.add("IPAdapterAdvanced")[0], path, "Around")
    w.graph.save("sampled", sample(w.graph, model)[0])
    with pytest.raises(PromptError) as refused:
        server.run(w.graph)
    assert refused.value.node_type == ("IPAdapterAdvanced" if first == "theirs" else "KSampler")
    assert f"diffusion_model.{path} by a " in str(refused.value) and "neighbours.Around" in str(refused.value)
    assert "has no to_q, to_k, to_v, to_out" in str(refused.value)


def test_a_prompt_that_does_not_reach_such_an_attention_is_not_refused(server):
    w = wiring(server, "3")
    model = replaced(w, w.model, f"{BLOCK}.attn2", "Around")
    latents = w.latents(ours=w.add("IPAdapterAdvanced", model=model, weight_type="composition")[0])
    assert not latents["ours"].equal(latents["bare"])


def test_a_module_that_hides_patches_is_named_once_per_run(server):
    w = wiring(server, "4")
    log = server.log
    w.latents(steps=3, ours=w.add("IPAdapterAdvanced", model=replaced(w, w.model, BLOCK, "Unpatched"))[0])
    new = [line for line in server.log.removeprefix(log).splitlines() if SAID in line]
    assert len(new) == 1 and "neighbours.Unpatched" in new[0]


def test_blocks_of_transformers_that_a_pack_left_on_the_model_change_no_later_prompt():
    for kind, family in FAMILY.items():
        loaded, seen, model = adapter(kind), embeds(kind), tiny_model(family)
        path = f"diffusion_model.{'double' if family == 'flux' else 'joint'}_blocks.1"
        theirs = model.clone()
        theirs.add_object_patch(path, Around(model.get_model_object(path)))
        both = sample_transformer(follow(theirs, loaded, seen), family)
        assert type(model.model.diffusion_model.get_submodule(path.partition(".")[2])) is Around
        after = sample_transformer(follow(model, loaded, seen), family)
        wanted = sample_transformer(follow(tiny_model(family), loaded, seen), family)
        assert after.equal(wanted) and both.equal(wanted), kind


def test_riding_references_read_the_originals_and_name_a_self_attention_that_takes_no_patch():
    def ride(model: Any) -> Any:
        return ride_along(model, {"samples": seeded((1, 4, 8, 8), 3)}, None, Looks(layers="all"))

    rig = Rig("sd15")
    wanted = sampled_here(ride(rig.bare()))
    for path in (f"diffusion_model.{end}" for end in (f"{BLOCK}.attn1", f"{BLOCK}.attn2", BLOCK)):
        model = rig.bare()
        theirs = model.clone()
        theirs.add_object_patch(path, Around(model.get_model_object(path)))
        sampled_here(theirs)
        assert type(model.model.diffusion_model.get_submodule(path.partition(".")[2])) is Around
        assert sampled_here(ride(model)).equal(wanted), path
        if path.endswith("attn1"):
            with pytest.raises(AdapterError, match="blocks.0.attn1 by a .*Around, which has no to_q"):
                ride(theirs)
            behind = ride(model).clone()
            behind.add_object_patch(path, Around(model.get_model_object(path)))
            with pytest.raises(AdapterError, match="blocks.0.attn1 by a .*Around, which has no to_q"):
                sampled_here(behind)
        else:
            assert sampled_here(ride(theirs)).equal(wanted), path


def test_an_attention_that_a_loader_left_without_its_sizes_is_named():
    class Fused(nn.Module):
        pass

    model = Rig("sd15").bare()
    model.model.diffusion_model.get_submodule(BLOCK).attn2 = Fused()
    with pytest.raises(ModelMismatchError, match="Fused, which has no heads and no dim_head and no to_k"):
        sites_of(model)

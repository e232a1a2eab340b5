"""Image prompts on a model that ComfyUI samples on several GPUs: conditionings in threads, each on a copy of the model.

The second device is this CPU under another name: to ComfyUI `cpu` and `cpu:0` are two devices. The copies, their
scheduler and their threads are ComfyUI's own.
"""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from comfy.model_patcher import ModelPatcher

import transformer_rig
from harness.in_process import sample
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.sampling import block_attention, transformer
from performance.rig import Rig, half_mask
from references import edit_models
from test_nodes_pack.standins import seeded
from transformer_rig import FAMILY, adapter, embeds, tiny_model

OTHER = torch.device("cpu", 0)
RIG = Rig("sd15")

pytestmark = pytest.mark.skipif(
    not hasattr(ModelPatcher, "match_multigpu_clones"), reason="ComfyUI 0.16 samples on one GPU"
)


def on_two(model, loader):
    """The model as the node MultiGPU Work Units leaves it; `loader` loads it from its file once more."""
    model.cached_patcher_init = (loader, ())
    both = model.clone()
    other = both.deepclone_multigpu(OTHER)
    other.is_multigpu_base_clone = True
    both.set_additional_models("multigpu", [other])
    both.match_multigpu_clones()
    return both


def devices_of(model):
    """Notes, for every call of the model on either device, which copy it runs on."""
    called = []
    copies = [model, *model.get_additional_models_with_key("multigpu")]
    for copy in copies:
        copy.model.diffusion_model.register_forward_pre_hook(lambda module, _: called.append(id(module)))
    return called


def test_each_copy_of_a_unet_follows_the_picture_before_or_behind():
    wanted, bare = sample(RIG.follow(RIG.bare(), mask=half_mask(), end_at=0.9), steps=2), sample(RIG.bare(), steps=2)
    for first in (True, False):
        model = RIG.bare()
        two = on_two(model, RIG.bare) if first else model
        followed = RIG.follow(two, mask=half_mask(), end_at=0.9)
        followed = followed if first else on_two(followed, RIG.bare)
        called = devices_of(followed)
        # A row of its own rounds otherwise than one of two, and CFG amplifies: as with little memory, on one device.
        torch.testing.assert_close(sample(followed, steps=2), wanted, rtol=2e-4, atol=1e-3)
        assert len(set(called)) == 2 and len(called) == 4, "both conditionings of both steps"
    assert (wanted - bare).abs().max() > 0.05


@pytest.mark.parametrize("kind", FAMILY)
def test_each_copy_of_a_transformer_follows_the_picture_by_its_own_weights(kind, monkeypatch):
    family = FAMILY[kind]

    def load():
        return tiny_model(family)

    def follow(model):
        return transformer_rig.follow(model, adapter(kind), embeds(kind))

    def recomputed(block, *rest):
        blocks.add(id(block))
        return own(block, *rest)

    blocks, own = set(), block_attention.raw_queries_keys
    monkeypatch.setattr(block_attention, "raw_queries_keys", recomputed)
    monkeypatch.setattr(transformer, "renorms", lambda module: False)
    wanted = transformer_rig.sample(follow(load()), family, cfg=3.0)
    blocks.clear()
    two = follow(on_two(load(), load))
    called = devices_of(two)
    torch.testing.assert_close(transformer_rig.sample(two, family, cfg=3.0), wanted, rtol=2e-4, atol=1e-3)
    assert len(set(called)) == 2
    copies = [two, *two.get_additional_models_with_key("multigpu")]
    both = [getattr(copy.model.diffusion_model, "joint_blocks", []) for copy in copies]
    assert blocks == {id(block.x_block) for blocks_of in both for block in blocks_of}


KONTEXT = edit_models.MODELS["Flux Kontext"]


def ride(model):
    looks = Looks(0.8, "all", mask=half_mask())
    return ride_along(model, {"samples": seeded((1, 4, 8, 8), 11)}, None, looks)


def weigh(model):
    return weigh_references(weigh_references(model, 1, 0.4, 0.0, 1.0, half_mask()), 2, 2.0, 0.0, 0.7)


def edited(model):
    return edit_models.sample(model, KONTEXT, (KONTEXT.latent(11), KONTEXT.latent(12, edit_models.OTHER)), cfg=3.0)


WITHOUT_ADAPTER = {
    "riding": (RIG.bare, ride, lambda model: sample(model, steps=2)),
    "weighed": (lambda: edit_models.model_of.__wrapped__(KONTEXT), weigh, edited),
}


@pytest.mark.parametrize("kind", WITHOUT_ADAPTER)
def test_each_copy_has_its_references_without_an_adapter_before_or_behind(kind):
    load, refer, draw = WITHOUT_ADAPTER[kind]
    wanted, bare = draw(refer(load())), draw(load())
    for first in (True, False):
        model = load()
        two = refer(on_two(model, load)) if first else on_two(refer(model), load)
        called = devices_of(two)
        torch.testing.assert_close(draw(two), wanted, rtol=2e-4, atol=1e-3)  # as above
        assert len(set(called)) == 2
    assert (wanted - bare).abs().max() > 0.05

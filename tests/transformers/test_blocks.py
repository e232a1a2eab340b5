"""Which function runs as a transformer's block with image prompts: ComfyUI's block, or what another pack has there."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from comfy.samplers import KSAMPLER

from transformer_rig import FAMILY, adapter, embeds, follow, follow_kind, predict, sample, tiny_model


def with_patch(model, patch, slot):
    model = model.clone()
    model.set_model_patch_replace(patch, "dit", *slot)
    return model


def test_a_sampler_gets_gradients_through_sd35_also_where_another_pack_makes_comfyui_compute_a_block_twice():
    kind, found = "InstantX SD3.5", []
    bare, loaded = tiny_model("sd3.5"), adapter(kind)
    theirs = with_patch(bare, lambda args, extra: extra["original_block"](args), ("double_block", 0))

    def ask(model, x, sigmas, extra_args=None, **_):
        with torch.enable_grad():
            noisy = x.clone().requires_grad_()
            denoised = model(noisy, sigmas[:1], **(extra_args or {}))
            found.append(torch.autograd.grad(denoised.square().sum(), noisy)[0])
        return x

    for model in (bare, follow(bare, loaded, embeds(kind)), follow(theirs, loaded, embeds(kind))):
        sample(model, "sd3.5", (0.7, 0.0), sampler=KSAMPLER(ask), gradients=True)
    without, alone, behind = found
    assert (without - alone).abs().max() > 1e-3
    torch.testing.assert_close(behind, alone, rtol=0, atol=0)


@pytest.mark.parametrize("kind", FAMILY)
def test_a_pack_that_runs_our_patch_around_a_block_of_its_own_gets_its_block(kind):
    """Whatever takes the place of ComfyUI's function for the block runs, not the block beside it."""
    family, slot = FAMILY[kind], ("double_block", 0)
    ours = follow_kind(kind)
    patch = ours.model_options["transformer_options"]["patches_replace"]["dit"][slot]

    def louder(args, extra):
        def block(args):
            out = extra["original_block"](args)
            return {**out, "img": 2 * out["img"]}

        return patch(args, {**extra, "original_block": block})

    assert not torch.equal(predict(with_patch(ours, louder, slot), family)[1], predict(ours, family)[1])

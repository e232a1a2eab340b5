"""What the old pack got wrong and is right here; and oddities that stay.

More of them, where they belong: layers and guiders in test_binding.py, weights of frames in weight_schedules/, tiles
and masks of encoders in encoders/test_vision.py, helper nodes in server/.
"""

from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.samplers
from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM

import synthetic
from harness.in_process import following, sample
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.families import LAYOUTS
from pack.nodes.apply import IPAdapterFromParams
from pack.nodes.applying.apply import Strength, layer_table, with_face_weight
from pack.nodes.applying.encoding import Encoder, Reference, encode_reference
from pack.nodes.loading.adapters import manage, open_pipeline
from test_nodes_pack import standins, unets

SIZES: dict[str, Any] = {"context": 768, "channels": synthetic.sd15_channels(32), "pooled": 48, "hidden": 64}
SMALL: dict[str, Any] = {"dim": 64, "heads": 1, "depth": 1}


def adapter(variant: str = "standard", **sizes: Any):
    state_dict = synthetic.adapter(variant, seed=7, **SIZES | SMALL | sizes)
    return manage(read_checkpoint(state_dict, "tiny.safetensors"))


@pytest.fixture(scope="module")
def standard():
    return adapter()


@pytest.fixture(scope="module")
def plus():
    return adapter("plus")


@pytest.fixture(scope="module")
def vision():
    """A width that is no square number, as those of ViT-bigG and ViT-L are not."""
    return standins.tiny_clip_vision(seed=3, hidden=64, projection=48, image_size=224)


@pytest.fixture(scope="module")  # no test changes it: that would show in the others
def model():
    return unets.tiny_model("sd15", seed=1)


def pictures(seed: int, count: int = 1, side: int = 32) -> torch.Tensor:
    return torch.rand((count, side, side, 3), generator=torch.Generator().manual_seed(seed))


def follow(model, adapter, reference: Reference | None = None, vision=None, **strength: Any):
    reference = reference or Reference(embeds=standins.seeded((1, 48), 1))
    return following(model, adapter, reference, vision, **strength)


def layer_output(model, layer: int, shape: tuple[int, ...]) -> torch.Tensor:
    """What a layer's cross-attention gave in the first call of a run, (rows, tokens, channels)."""
    seen: list[torch.Tensor] = []

    def look(n, options):
        if options["transformer_index"] == layer:
            seen.append(n.clone())
        return n

    clone = model.clone()
    clone.set_model_attn2_output_patch(look)
    sample(clone, shape)
    return seen[0]


@pytest.mark.parametrize(
    ("size", "layer", "grid"),
    [((17, 16), 2, (9, 8)), ((17, 16), 4, (5, 4)), ((16, 17), 2, (8, 9)), ((11, 23), 2, (6, 12)), ((9, 9), 4, (3, 3))],
)
def test_a_mask_lies_on_the_rows_and_columns_that_a_level_really_has(model, standard, size, layer, grid):
    """The old pack guessed them from the number of tokens: 8 x 9 for 9 x 8, which shears the mask."""
    height, width = size
    mask = torch.zeros(1, height * 8, width * 8)
    mask[:, :, : width * 2] = 1  # a quarter, so that middle columns are dark for sure
    one_layer = f"{layer}:1.0"
    bare = layer_output(model, layer, (1, 4, *size))
    masked = layer_output(follow(model, standard, layer_weights=one_layer, mask=mask), layer, (1, 4, *size))
    changed = (masked != bare).any(dim=-1).unflatten(1, grid)  # (rows, height, width)
    dark = grid[1] * 2 // 4 + 1
    assert changed[:, :, 0].all() and not changed[:, :, dark:].any()


def with_frames_as_rows(model, frames: int):
    """The model for latents (n, channels, frames, height, width), as packs for video bring them to an image UNet."""

    def wrapper(apply_model, call):
        given = {**call["c"], "c_crossattn": call["c"]["c_crossattn"].repeat_interleave(frames, 0)}
        timestep = call["timestep"].repeat_interleave(frames, 0)
        rows = apply_model(call["input"].movedim(2, 1).flatten(0, 1), timestep, **given)
        return rows.unflatten(0, (-1, frames)).movedim(1, 2)

    clone = model.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    return clone


def test_latents_with_a_time_axis_follow_the_picture_inside_its_mask(model, standard):
    """Five axes instead of four were an error."""
    video, shape = with_frames_as_rows(model, frames=3), (1, 4, 3, 8, 8)
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    only_first = {"layer_weights": "0:1.0"}
    bare, whole, half = (
        layer_output(m, 0, shape).unflatten(1, (8, 8))
        for m in (video, follow(video, standard, **only_first), follow(video, standard, mask=mask, **only_first))
    )
    assert len(bare) == 2 * 3  # a positive and a negative row per frame
    assert half[:, :, 4:].equal(bare[:, :, 4:]) and half[:, :, :4].equal(whole[:, :, :4])
    assert not whole.equal(bare)


def test_a_layer_takes_rows_and_columns_from_shapes_with_a_time_axis(model, standard):
    """The old pack unpacked four numbers, and raised over five."""
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    patch = follow(model, standard, mask=mask).model_options["transformer_options"]["patches_replace"]["attn2"][
        "input", 1
    ]
    q, k, v = (x.unflatten(0, (6, -1)) for x in standins.seeded((3, 6 * 64, 32), 1))
    options = {"n_heads": patch.site.heads, "sigmas": torch.tensor([5.0]), "cond_or_uncond": [1, 0]}
    image = {"original_shape": [6, 4, 8, 8], "activations_shape": [6, 32, 8, 8]}
    video = {"original_shape": [2, 4, 3, 8, 8], "activations_shape": [2, 32, 3, 8, 8]}
    of_image, of_video = (patch(q, k, v, options | shapes) for shapes in (image, video))
    assert of_video.equal(of_image)


def test_the_face_weight_of_a_weight_list_is_a_number(model):
    """Twice a list of weights was a list twice as long."""
    assert with_face_weight(Reference(), Strength(weight=[0.5, 1.0])).face_weight == 2.0


@pytest.mark.parametrize("family", ["SD1.5", "SDXL"])
def test_style_and_composition_follows_the_one_weight_of_a_node_with_one(family):
    """Its composition stood at 1.0 whatever the weight."""
    blocks = LAYOUTS[family]
    strengths = (Strength(weight=weight, weight_type="style and composition") for weight in (1.0, 0.5))
    full, half = (layer_table(strength, blocks).weights for strength in strengths)
    assert half == tuple(weight / 2 for weight in full) and any(half)


def test_style_and_composition_take_any_number_of_pictures_each(model, standard, vision):
    """Composition layers attend to all composition pictures, style layers to all style pictures (W2, in numbers)."""
    style, composition = pictures(1, 1), pictures(2, 3)
    both = follow(
        model, standard, Reference(style, composition), vision, weight_type="style and composition", weight=0.5
    )
    styled = follow(model, standard, Reference(style), vision, weight_type="style transfer", weight=0.5)
    chained = follow(styled, standard, Reference(composition), vision, weight_type="composition", weight=0.5)
    assert sample(both).equal(sample(chained))
    assert not sample(both).equal(sample(styled))


@pytest.mark.parametrize("kind", ["standard", "plus"])
def test_an_encoder_whose_pooled_embeds_are_no_square_can_be_used_in_tiles(model, vision, kind, request):
    """The enhancer reshaped 1280 or 768 numbers into a square, which failed even where they were not used."""
    loaded = request.getfixturevalue(kind)
    pipeline = open_pipeline(loaded, vision)
    whole, parts = encode_reference(pipeline, Reference(pictures(1, side=64), tiles=2, tile_ratio=1.0)).positive
    encoder = Encoder(pipeline)
    quarters = pictures(1, side=64)[0].unflatten(0, (2, 32)).unflatten(2, (2, 32)).transpose(1, 2).flatten(0, 1)
    assert whole.equal(encoder(pictures(1, side=64))[0])
    expected = encoder(quarters).mean(0)
    class_token = 0 if kind == "plus" else slice(None)  # pooled embeds have no tokens
    # A mean of four numbers may be summed up in another order.
    torch.testing.assert_close(parts[class_token], expected[class_token], rtol=1e-5, atol=1e-5)
    tiled = follow(model, loaded, Reference(pictures(1, side=64), tiles=2), vision)
    assert not sample(tiled).equal(sample(model))


def with_other_sigmas(model):
    return ModelSamplingContinuousEDM().patch(model, "eps", 120.0, 0.002)[0]


def test_the_active_range_is_of_the_sampling_that_is_used_not_of_the_one_when_the_node_ran(model, standard):
    """start_at and end_at were turned into sigmas when the node ran; a sampling patch behind it moved them."""
    samplings = [m.get_model_object("model_sampling") for m in (model, with_other_sigmas(model))]
    early, late = (sampling.percent_to_sigma(0.5) for sampling in samplings)
    sigmas = comfy.samplers.calculate_sigmas(samplings[1], "normal", 8)[:-1]
    assert any(min(early, late) < sigma < max(early, late) for sigma in sigmas.tolist())  # else both would agree
    before = sample(with_other_sigmas(follow(model, standard, start_at=0.5)), steps=8)
    behind = sample(follow(with_other_sigmas(model), standard, start_at=0.5), steps=8)
    assert before.equal(behind)
    assert not before.equal(sample(with_other_sigmas(model), steps=8))


def test_regions_without_a_picture_leave_the_model_as_it_is(model, standard):
    """Outputs were unbound when no region had a picture."""
    params = {name: [None, None] for name in ("image", "attn_mask")} | {"weight": [1.0, 1.0]}
    params |= {"weight_type": ["linear"] * 2, "start_at": [0.0] * 2, "end_at": [1.0] * 2}
    out = IPAdapterFromParams.execute(model, standard, ipadapter_params=params).result[0]
    assert sample(out).equal(sample(model))


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_an_adapter_follows_the_precision_of_the_model(standard, dtype):
    """An adapter in another precision than the UNet stopped the sampler."""
    model = unets.tiny_model("sd15", seed=1, dtype=dtype)
    out = sample(follow(model, standard))
    assert out.isfinite().all() and not out.equal(sample(model))


def test_applying_draws_no_numbers_from_the_shared_generator(model, vision):
    """Modules were made with random weights, and noise reseeded everybody's generator."""
    before = torch.get_rng_state()
    follow(model, adapter("plus"), Reference(pictures(1), noise=0.5), vision)
    assert torch.get_rng_state().equal(before)


# Kept, because pictures were made with it


def test_the_negative_prompt_of_plus_adapters_sees_a_black_picture(plus, vision):
    """They were trained with the mean colour instead."""
    pipeline = open_pipeline(plus, vision)
    negative = encode_reference(pipeline, Reference(pictures(1))).negative
    assert negative.equal(Encoder(pipeline)(torch.zeros(1, 224, 224, 3)))


def test_the_negative_prompt_of_pooled_adapters_sees_zeros(standard, vision):
    negative = encode_reference(open_pipeline(standard, vision), Reference(pictures(1))).negative
    assert negative.equal(torch.zeros(1, 48))


def test_nodes_without_a_weight_for_the_face_give_it_twice_their_own():
    assert with_face_weight(Reference(), Strength(weight=0.5)).face_weight == 1.0
    assert with_face_weight(Reference(face_weight=0.3), Strength(weight=0.5)).face_weight == 0.3

"""What holds of image prompts on Flux and SD3.5 whatever the weights are: masks, frames, chains, steps, refusals."""

import logging

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import tiny_transformers as tiny
from pack.ipadapter.cache import tensor_bytes
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.errors import AdapterError, ModelMismatchError
from pack.nodes.loading.adapters import manage
from pack.nodes.sampling.attach import attached_prompts
from pack.weight_schedules.position import SamplingPosition
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from test_nodes_pack.standins import seeded
from transformer_rig import FAMILY, adapter, embeds, follow, model_of, predict, sample, state, texts, tiny_model

ROUNDING = 1e-5  # float32: other shapes, other kernels
LAST = {"InstantX Flux": "single1:1", "InstantX SD3.5": "joint1:1", "XLabs Flux": "double1:1"}
KINDS = list(FAMILY)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def bare(kind):
    """A model whose last blocks are those that the adapter acts in."""
    return tiny_model("flux", single=0) if kind == "XLabs Flux" else tiny_model(FAMILY[kind])


@pytest.fixture(scope="module")
def prompted(kind, bare):
    loaded = adapter(kind)
    return lambda model=bare, seed=1, **strength: follow(model, loaded, embeds(kind, seed), **strength)


def left_half(height, width):
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def with_references(family):
    """Options of a conditioning: none, and for Flux a reference latent too, which only Flux takes."""
    return [{}, {"reference_latents": [seeded((1, 16, 8, 6), 3)]}] if family == "flux" else [{}]


@pytest.mark.parametrize(("height", "width"), [(12, 8), (7, 16)])  # an odd side is filled up to whole tokens
def test_a_mask_covers_just_its_part_of_the_canvas(kind, bare, prompted, height, width):
    family, shape, middle = FAMILY[kind], (1, 16, height, width), width // 2
    whole, half = {"layer_weights": LAST[kind]}, {"layer_weights": LAST[kind], "mask": left_half(height, width)}
    for more in with_references(family):
        run = {"shape": shape, "positive": texts(family, 10, **more)}
        none, full, masked = (predict(m, family, **run)[1] for m in (bare, prompted(**whole), prompted(**half)))
        assert (full - none).abs().amax(dim=(0, 1, 2)).min() > 1e-4
        assert torch.equal(masked[..., middle:], none[..., middle:])
        assert torch.equal(masked[..., :middle], full[..., :middle])


def test_an_area_has_its_part_of_a_mask_and_a_region_inside_it_its_own(kind, bare, prompted):
    """The right half of the canvas is an area; a mask covers parts of the area, or all but the area."""
    family, height, width, left = FAMILY[kind], 12, 8, 4
    masks = {name: torch.zeros(1, height, width) for name in ("inside", "outside", "region", "region and outside")}
    masks["inside"][..., left:] = masks["outside"][..., :left] = masks["region and outside"][..., :left] = 1
    masks["region"][:, :6, left:] = masks["region and outside"][:, :6, left:] = 1
    whole = {"layer_weights": LAST[kind]}
    for more in with_references(family):
        area = texts(family, 10, area=(height, width - left, 0, left), strength=1.0, **more)
        run = {"shape": (1, 16, height, width), "positive": area}
        none, full = (predict(m, family, **run)[1][..., left:] for m in (bare, prompted(**whole)))
        seen = {name: predict(prompted(**whole, mask=mask), family, **run)[1] for name, mask in masks.items()}
        seen = {name: v[..., left:] for name, v in seen.items()}
        assert (full - none).abs().amax(dim=(0, 1, 3)).min() > 1e-4
        assert torch.equal(seen["inside"], full) and torch.equal(seen["outside"], none)
        assert torch.equal(seen["region"], torch.cat((full[:, :, :6], none[:, :, 6:]), dim=2))
        assert torch.equal(seen["region and outside"], seen["region"])


def test_negative_rows_of_cfg_see_what_stands_for_nothing(kind, bare, prompted):
    family = FAMILY[kind]
    nothing = follow(bare, adapter(kind), torch.zeros_like(embeds(kind)))
    _, positive = predict(prompted(), family)
    _, negative = predict(nothing, family, positive=texts(family, 20))
    _, guided = predict(prompted(), family, cfg=3.0)
    torch.testing.assert_close(guided, negative + 3.0 * (positive - negative), rtol=0, atol=10 * ROUNDING)


def test_every_frame_has_its_weight_and_its_picture(kind, bare, prompted):
    family, shape = FAMILY[kind], (2, 16, 8, 8)
    _, none = predict(bare, family, shape=shape)
    _, full = predict(prompted(), family, shape=shape)
    _, second = predict(prompted(weight=[0.0, 1.0]), family, shape=shape)
    assert torch.equal(second[0], none[0])
    torch.testing.assert_close(second[1], full[1], rtol=0, atol=ROUNDING)
    _, half = predict(prompted(weight=0.5), family, shape=shape)
    _, fading = predict(prompted(weight=[1.0, 0.5]), family, shape=shape)
    torch.testing.assert_close(fading[1], half[1], rtol=0, atol=ROUNDING)
    each = follow(bare, adapter(kind), torch.cat([embeds(kind, 2), embeds(kind, 1)]), per_frame=True)
    torch.testing.assert_close(predict(each, family, shape=shape)[1][1], full[1], rtol=0, atol=ROUNDING)


def test_a_schedule_over_steps_equals_its_weight_at_that_moment(kind, bare, prompted):
    family, sigma = FAMILY[kind], 0.6
    schedule = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))
    percent = SamplingPosition(bare.get_model_object("model_sampling").percent_to_sigma).percent(sigma)
    weight = schedule.steps.at(percent)
    assert 0.25 < weight < 0.95
    _, scheduled = predict(prompted(schedule=schedule), family, sigma)
    _, plain = predict(prompted(weight=weight), family, sigma)
    torch.testing.assert_close(scheduled, plain, rtol=0, atol=ROUNDING)


class Foreign:
    """Another pack's replacement of a block, which adds to what the block gives."""

    calls = 0

    def __call__(self, args, extra):
        self.calls += 1
        out = extra["original_block"](args)
        return {**out, "img": out["img"] + 0.5}


def test_what_another_pack_put_in_the_slot_still_runs_and_what_came_in_is_unchanged(kind, bare, prompted):
    family, foreign = FAMILY[kind], Foreign()
    key = ("single_block", 0) if kind == "InstantX Flux" else ("double_block", 0)
    theirs = bare.clone()
    theirs.set_model_patch_replace(foreign, "dit", *key)
    seen = []

    def override(function, *args, **kwargs):
        seen.append(function)
        return function(*args, **kwargs)

    theirs.model_options["transformer_options"]["optimized_attention_override"] = override
    before, none = predict(theirs, family)[1], predict(bare, family)[1]
    foreign.calls = 0
    seen.clear()
    both = predict(prompted(theirs), family)[1]
    blocks = {"XLabs Flux": 2, "InstantX Flux": 4, "InstantX SD3.5": 2}[kind]
    assert foreign.calls == 1 and len(seen) == 2 * blocks  # the model's own attentions, and ours
    assert not torch.equal(both, before) and not torch.equal(both, predict(prompted(), family)[1])
    assert torch.equal(predict(theirs, family)[1], before) and torch.equal(predict(bare, family)[1], none)
    assert torch.equal(predict(prompted(theirs, weight=0.0), family)[1], before)


def test_a_chain_of_clones_gives_each_its_own(kind, bare, prompted):
    family = FAMILY[kind]
    one = prompted()
    alone = predict(one, family)[1]
    two = prompted(one.clone(), seed=2)
    assert not torch.equal(predict(two, family)[1], alone)
    assert torch.equal(predict(one, family)[1], alone)
    assert torch.equal(predict(one, family)[1], predict(one.clone(), family)[1])


def test_a_model_whose_code_another_pack_replaced_is_said_to_ignore_the_prompts(kind, bare, prompted, caplog):
    family, method = FAMILY[kind], {"flux": "forward_orig", "sd3.5": "forward_core_with_concat"}[FAMILY[kind]]
    replaced = prompted()
    replaced.add_object_patch(f"diffusion_model.{method}", lambda img, *args, **kwargs: img.new_zeros(1, 16, 64))
    with caplog.at_level(logging.WARNING):
        sample(prompted(), family)
        sample(prompted(start_at=1.0, end_at=1.0), family)
        assert "never called them" not in caplog.text
        sample(replaced, family)
    assert "had no effect: the model never called them" in caplog.text


def couple(args, extra):
    """As another pack's replacement of a block that forgets what it replaces."""
    return extra["original_block"](args)


def cached(args, extra):
    """As another pack's that runs no block: what it kept of an earlier step, here what came in."""
    return {"img": args["img"]} | ({"txt": args["txt"]} if "txt" in args else {})


def in_slots(model, patch, *slots):
    model = model.clone()
    for slot in slots:
        model.set_model_patch_replace(patch, "dit", *slot)
    return model


def noted(caplog, model, family):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        sample(model, family)
    return [record.getMessage() for record in caplog.records if "image prompts" in record.getMessage()]


def test_what_drops_some_or_all_of_our_blocks_is_named_once_per_run_and_nothing_else_is(kind, bare, prompted, caplog):
    family = FAMILY[kind]
    blocks = {"XLabs Flux": 2, "InstantX Flux": 4, "InstantX SD3.5": 2}[kind]
    slots = [("double_block", 0), ("double_block", 1)] + [("single_block", i) for i in range(2)] * (blocks == 4)
    for after in (slots[:1], slots):
        (note,) = noted(caplog, in_slots(prompted(), couple, *after), family)
        assert f"replaced the image prompts in {len(after)} of {blocks} places" in note and ".couple)" in note
        assert "Put that node before the IPAdapter nodes" in note
    (note,) = noted(caplog, prompted(in_slots(bare, cached, slots[0])), family)
    assert f"runs 1 of {blocks} blocks without their own attention" in note and ".cached)" in note
    quiet = [
        prompted(in_slots(bare, couple, *slots)),
        in_slots(prompted(layer_weights=LAST[kind]), couple, slots[0]),
        in_slots(prompted(weight=0.0), couple, *slots),
    ]
    assert not any(noted(caplog, model, family) for model in quiet)


def test_a_block_that_chroma_leaves_out_is_nobody_s_fault(caplog):
    chroma = model_of("chroma")
    chroma.model.diffusion_model.skip_mmdit, chroma.model.diffusion_model.skip_dit = [1], [0]
    prompt = follow(in_slots(chroma, couple, ("double_block", 1)), adapter("InstantX Flux"), embeds("InstantX Flux"))
    assert not noted(caplog, prompt, "flux")


def test_tokens_of_sd35_are_made_once_per_step_and_keys_and_values_once_per_step_and_block(monkeypatch):
    loaded, counts = adapter("InstantX SD3.5"), {"tokens_at": 0, "keys_values": 0}
    for name in counts:
        method = getattr(loaded.network, name)

        def counted(*args, name=name, method=method):
            counts[name] += 1
            return method(*args)

        monkeypatch.setattr(loaded.network, name, counted)
    model = follow(tiny_model("sd3.5"), loaded, embeds("InstantX SD3.5"))
    assert counts == {"tokens_at": 0, "keys_values": 0}
    sample(model, "sd3.5", (1.0, 0.7, 0.4, 0.0), cfg=3.0)
    assert counts == {"tokens_at": 3, "keys_values": 6}
    only_first = follow(tiny_model("sd3.5"), loaded, embeds("InstantX SD3.5"), layer_weights="joint0:1", end_at=0.3)
    counts.update(tokens_at=0, keys_values=0)
    sample(only_first, "sd3.5", (1.0, 0.7, 0.4, 0.0), cfg=3.0)
    assert counts["tokens_at"] == counts["keys_values"] < 3  # a block or step without a weight costs nothing


def test_the_source_of_sd35_holds_tokens_of_the_latest_moment_only_and_none_after_sampling():
    kind = "InstantX SD3.5"
    model = follow(tiny_model("sd3.5"), adapter(kind), embeds(kind))
    source = attached_prompts(model)[0].source
    held = lambda: tensor_bytes(list(vars(source).values()))  # noqa: E731
    none = held()
    keys, sizes = [], set()
    for sigma in (0.7, 0.4, 0.7):
        keys.append([source.pair_at(site, sigma).keys for site in range(2)])
        sizes.add(held() - none)
    assert torch.equal(keys[0][1], keys[2][1]) and not torch.equal(keys[0][1], keys[1][1])
    assert len(sizes) == 1 and sizes.pop() > 0
    sample(model, "sd3.5")
    assert held() == none
    with pytest.raises(AdapterError, match="without sigmas"):
        source.pair_at(0, None)


def test_scalings_that_an_attention_with_the_picture_cannot_have_are_refused():
    with pytest.raises(AdapterError, match=r"only V only has a meaning\. Choose V only"):
        follow(tiny_model("sd3.5"), adapter("InstantX SD3.5"), embeds("InstantX SD3.5"), scaling="K+V")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_another_number_of_blocks_is_refused_with_the_counts(kind):
    sizes = tiny.ADAPTERS[kind]
    loaded = manage(read_checkpoint(state(kind, blocks=sizes["blocks"] + 1), "larger"))
    with pytest.raises(ModelMismatchError, match=rf"weights for {sizes['blocks'] + 1} .* model has {sizes['blocks']} "):
        follow(tiny_model(FAMILY[kind]), loaded, embeds(kind))


def test_chroma_takes_the_adapters_of_flux_and_may_leave_blocks_out():
    chroma, plain = model_of("chroma"), model_of("chroma")
    prompt = follow(chroma, adapter("InstantX Flux"), embeds("InstantX Flux"))
    none, full = predict(plain, "flux")[1], predict(prompt, "flux")[1]
    assert (full - none).abs().max() > 1e-3
    for model in (chroma, plain):
        model.model.diffusion_model.skip_mmdit, model.model.diffusion_model.skip_dit = [1], [0]
    assert not torch.equal(predict(prompt, "flux")[1], full)
    off = follow(chroma, adapter("InstantX Flux"), embeds("InstantX Flux"), layer_weights="double1:1, single0:1")
    assert torch.equal(predict(off, "flux")[1], predict(plain, "flux")[1])

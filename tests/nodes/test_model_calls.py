"""Calls of the model that are not conditionings times latents, wrappers of other packs, and what a plan computes."""

import copy

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM

import transformer_rig
from harness.callers import tile_by_tile
from harness.in_process import sample
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.sampling.attach import blocks_of, watch
from pack.nodes.sampling.patches import KEY
from pack.nodes.sampling.recorder import Recorder
from pack.nodes.sampling.store import Store
from performance.rig import Rig, half_mask, hooks_of
from references import edit_models
from test_nodes_pack.standins import seeded

RIG = Rig("sd15")
KONTEXT = edit_models.MODELS["Flux Kontext"]
FLUX = transformer_rig.adapter("XLabs Flux"), transformer_rig.embeds("XLabs Flux")


def ride(model):
    return ride_along(model, {"samples": seeded((1, 4, 8, 8), 3)}, None, Looks(0.5, layers="all"))


def with_caller(model, caller):
    """The model as a pack leaves it that calls the model in its own way: `caller(apply_model, arguments)`."""
    clone = model.clone()
    clone.set_model_unet_function_wrapper(caller)
    return clone


def one_conditioning_per_call(apply_model, arguments):
    """A call per conditioning that keeps the labels of both."""
    x, t, c = (arguments[name] for name in ("input", "timestep", "c"))
    parts = []
    for row in range(2):
        own = {name: value[row : row + 1] if isinstance(value, torch.Tensor) else value for name, value in c.items()}
        parts.append(apply_model(x[row : row + 1], t[row : row + 1], **own))
    return torch.cat(parts)


def test_rows_that_cannot_be_told_are_left_alone_and_said(caplog):
    caller = one_conditioning_per_call
    followed, bare = (sample(with_caller(model, caller)) for model in (RIG.follow(RIG.bare()), RIG.bare()))
    assert torch.equal(followed, bare)
    assert caplog.text.count("1 rows for 2 conditionings of 1 latents") == 1


def without_our_entry(executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
    kept = {name: value for name, value in transformer_options.items() if name != KEY}
    return executor(x, t, c_concat, c_crossattn, control, kept, **kwargs)


def test_rows_that_cannot_be_told_are_said_also_beside_a_pack_that_drops_our_notes(caplog):
    clone = RIG.bare().clone()
    clone.add_wrapper(WrappersMP.APPLY_MODEL, without_our_entry)
    followed, bare = (sample(with_caller(model, one_conditioning_per_call)) for model in (RIG.follow(clone), clone))
    assert torch.equal(followed, bare)
    assert caplog.text.count("1 rows for 2 conditionings of 1 latents") == 1


def test_a_mask_that_is_fitted_to_tiles_is_said_once(caplog):
    sample(with_caller(RIG.follow(RIG.bare()), tile_by_tile), (1, 4, 16, 8))
    assert "attn_mask" not in caplog.text
    sample(with_caller(RIG.follow(RIG.bare(), mask=half_mask()), tile_by_tile), (1, 4, 16, 8))
    assert caplog.text.count("8 x 8 of 16 x 8 latent pixels") == 1


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours around it", "ours inside"])
def test_wrappers_of_other_packs_may_pass_everything_by_keyword(ours_first):
    def on_sampler_sample(executor, model_wrap, sigmas, extra_args, callback, noise, latent_image, *rest):
        return executor(
            model_wrap=model_wrap, sigmas=sigmas, extra_args=extra_args, callback=callback, noise=noise,
            latent_image=latent_image,
        )  # fmt: skip

    def on_calc_cond_batch(executor, model, conds, x_in, timestep, model_options):
        return executor(model=model, conds=conds, x_in=x_in, timestep=timestep, model_options=model_options)

    def on_apply_model(executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
        return executor(
            x=x, t=t, c_concat=c_concat, c_crossattn=c_crossattn, control=control,
            transformer_options=transformer_options, **kwargs,
        )  # fmt: skip

    theirs = {
        WrappersMP.SAMPLER_SAMPLE: on_sampler_sample,
        WrappersMP.CALC_COND_BATCH: on_calc_cond_batch,
        WrappersMP.APPLY_MODEL: on_apply_model,
    }

    def with_theirs(model):
        clone = model.clone()
        for kind, wrapper in theirs.items():
            clone.add_wrapper(kind, wrapper)
        return clone

    model = RIG.bare()
    both = with_theirs(RIG.follow(model)) if ours_first else RIG.follow(with_theirs(model))
    assert torch.equal(sample(both), sample(RIG.follow(model)))


def test_wrappers_of_other_packs_may_pass_everything_by_position_and_options_of_their_own():
    """Each wrapper calls on with a copy of the options and a further entry, as multi-pass guiders do."""

    def with_entry(options):
        own = options.get("transformer_options", options)
        own = {**own, "test_entry": own.get("test_entry", 0) + 1}
        return {**options, "transformer_options": own} if "transformer_options" in options else own

    def on_sampler_sample(executor, model_wrap, sigmas, extra_args, *rest):
        extra_args = {**extra_args, "model_options": with_entry(extra_args["model_options"])}
        return executor(model_wrap, sigmas, extra_args, *rest)

    def on_calc_cond_batch(executor, model, conds, x_in, timestep, model_options):
        return executor(model, conds, x_in, timestep, with_entry(model_options))

    def on_apply_model(executor, x, t, c_concat, c_crossattn, control, transformer_options, *rest, **kwargs):
        seen.append(transformer_options["test_entry"])
        return executor(x, t, c_concat, c_crossattn, control, with_entry(transformer_options), *rest, **kwargs)

    def with_theirs(model):
        clone = model.clone()
        clone.add_wrapper(WrappersMP.SAMPLER_SAMPLE, on_sampler_sample)
        clone.add_wrapper(WrappersMP.CALC_COND_BATCH, on_calc_cond_batch)
        clone.add_wrapper(WrappersMP.APPLY_MODEL, on_apply_model)
        return clone

    seen: list[int] = []
    model = RIG.bare()
    wanted = sample(RIG.follow(model))
    assert sample(with_theirs(RIG.follow(model))).equal(wanted)
    assert sample(RIG.follow(with_theirs(model))).equal(wanted)
    assert seen == [2, 2]


KINDS = ["image prompts", "a riding reference", "image prompts of a transformer", "weighed references"]


@pytest.mark.parametrize("kind", KINDS)
def test_wrappers_of_other_packs_may_deep_copy_the_options_of_a_model_and_of_a_call(kind):
    """As ComfyUI itself once did in every clone, and packs do that keep a copy of the options."""
    load, follow, draw = {
        "image prompts": (RIG.bare, RIG.follow, sample),
        "a riding reference": (RIG.bare, ride, sample),
        "image prompts of a transformer": (
            lambda: transformer_rig.tiny_model("flux"),
            lambda model: transformer_rig.follow(model, *FLUX),
            lambda model: transformer_rig.sample(model, "flux"),
        ),
        "weighed references": (
            lambda: edit_models.model_of(KONTEXT),
            lambda model: weigh_references(model, 0, 0.5, 0.0, 1.0),
            lambda model: edit_models.sample(model, KONTEXT, [KONTEXT.latent(11)]),
        ),
    }[kind]

    def on_apply_model(executor, x, t, c_concat, c_crossattn, control, transformer_options, **kwargs):
        return executor(x, t, c_concat, c_crossattn, control, copy.deepcopy(transformer_options), **kwargs)

    def copied(model):
        clone = model.clone()
        clone.model_options = copy.deepcopy(clone.model_options)
        clone.add_wrapper(WrappersMP.APPLY_MODEL, on_apply_model)
        return clone

    followed = follow(load())
    wanted = draw(followed)
    assert not torch.equal(wanted, draw(load()))
    assert torch.equal(draw(copied(followed)), wanted) and torch.equal(draw(follow(copied(load()))), wanted)
    assert torch.equal(draw(followed), wanted)


def test_a_pack_that_drops_our_entry_of_the_options_leaves_image_prompts_as_they_are():
    """Without notes and plan, what the rows are is read from ComfyUI's own labels."""
    model = RIG.follow(RIG.bare())
    wanted = sample(model)
    for first in (True, False):
        clone = RIG.bare() if first else model.clone()
        clone.add_wrapper(WrappersMP.APPLY_MODEL, without_our_entry)
        torch.testing.assert_close(sample(RIG.follow(clone) if first else clone), wanted, rtol=0, atol=0)


def test_the_recorder_tells_the_percent_of_a_noise_schedule_that_is_set_after_it():
    recorder = Recorder(blocks_of(RIG.bare()))
    watched = watch(RIG.follow(RIG.bare()), recorder)
    schedule = ModelSamplingContinuousEDM().patch(watched, "v_prediction", 120.0, 0.002)[0]
    sample(schedule, start=0.5)
    assert recorder.seen and {round(seen.percent, 2) for seen in recorder.seen} == {0.5}


def test_a_full_store_answers_for_the_first_values_in_every_round():
    """An LRU under cyclic access answers for none of them."""
    store, made = Store(max_bytes=40), []

    def value(key):
        return store.get(key, lambda: made.append(key) or torch.zeros(2))[0]  # 8 bytes

    for _ in range(3):
        for key in range(7):
            value(key)
    assert made == [*range(7), 5, 6, 5, 6]
    assert store.bytes == 40


def test_values_of_a_moment_go_with_the_next_moment():
    store = Store()
    first = store.get_at(2.0, "k", lambda: torch.zeros(8))
    assert store.get_at(2.0, "k", lambda: torch.ones(8)) is first and store.bytes == 32
    assert store.get_at(1.0, "k", lambda: torch.ones(4)).sum() == 4 and store.bytes == 16
    store.clear()
    assert store.bytes == len(store) == 0


def test_what_acts_is_arranged_once_for_all_equal_calls_of_a_run_and_dropped_after_it():
    patched = RIG.follow(RIG.bare(), mask=half_mask())
    store = hooks_of(patched).plans.store
    RIG.sample(patched, steps=4)
    assert store.misses == RIG.layers + 4, "keys and values of every layer, and the mask on four grids"
    assert store.hits == RIG.layers - 4, "layers with the same grid share its mask; later steps only look entries up"
    assert len(store) == store.bytes == len(hooks_of(patched).plans.earlier) == 0

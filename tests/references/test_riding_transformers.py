"""What holds of a riding reference in every family of transformers and takes more than nodes to see.

What nodes show is in tests/server/test_riding_transformers.py.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.samplers

from harness.callers import tile_by_tile, tiles_in_one_call
from pack.ipadapter.joint_models import JOINT_MODELS, joint_model_of
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along, rideable
from pack.nodes.sampling import joint_attentions, riding
from pack.nodes.sampling.attach import rider_of
from pack.nodes.sampling.positions import Positions
from pack.nodes.sampling.riding import Ride
from references.edit_models import sample
from test_nodes_pack.standins import seeded
from test_nodes_pack.transformers import EVERY_TRANSFORMER, SIZE, TRANSFORMERS, model_of, text_of

ROUNDING = 1e-5  # of the largest value, in float32 over all layers
LEFT = torch.tensor([1.0, 1, 1, 0, 0, 0]).expand(1, 8, 6)
OTHER = (4, 10)  # latent pixels of another reference
Build = Callable[..., Any]


def ride(kind: Any, model: Any = None, seed: int = 11, size=SIZE, images: int = 1, **looks: Any) -> Any:
    """A model with one more reference, which competes for half of the attention in all layers."""
    given = {"layers": "all", "weight": 0.5, "competes": True} | looks
    latent = {"samples": torch.cat([kind.latent(seed + i, size) for i in range(images)])}
    return ride_along(model_of(kind) if model is None else model, latent, None, Looks(**given))


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def drawn(kind: Any, model: Any, steps: int = 1, **run: Any) -> Tensor:
    return sample(model, kind, (), steps=steps, **run)


def network(kind: Any) -> Any:
    return model_of(kind).get_model_object("diffusion_model")


def broken(claim: Callable[[Any, Build, Build], list[str]]) -> dict[str, list[str]]:
    """What a claim says is wrong, of every family in which something is."""
    found = {}
    for name, kind in TRANSFORMERS.items():
        found[name] = claim(kind, partial(drawn, kind), partial(ride, kind))
    return {name: wrong for name, wrong in found.items() if wrong}


def test_a_reference_that_is_the_picture_changes_nothing_where_it_stands_and_something_aside(monkeypatch):
    """The reference's call gets the picture's latent and text. Its keys are those of the picture, unless moved."""
    aside = joint_attentions.columns_aside
    ways: list[dict[str, Any]] = [{}, {"competes": False, "weight": 0.7}, {"match": 1.0}]

    def claim(kind: Any, drawn: Build, ride: Build) -> list[str]:
        bare, wrong = drawn(model_of(kind)), []
        monkeypatch.setattr(riding, "noise_at", lambda sigma, like: seeded((1, *kind.channels, *SIZE), 5))
        for moved in (False, True):
            monkeypatch.setattr(joint_attentions, "columns_aside", aside if moved else lambda *_: 0.0)
            for how in ways[: 1 if moved else None]:
                latent = {"samples": torch.zeros_like(kind.latent(1))}
                looks = Looks(**{"layers": "all", "weight": 0.5, "competes": True} | how)
                changed = gap(drawn(ride_along(model_of(kind), latent, text_of(kind, 10), looks)), bare)
                expected = changed > 1e-4 if moved and joint_model_of(network(kind)).positions else changed < ROUNDING
                wrong += [] if expected else [f"{how} moved {moved}: {changed:.1g}"]
        return wrong

    assert broken(claim) == {}


def test_rows_get_what_each_gets_alone_and_the_model_runs_once_a_step_on_a_reference(monkeypatch):
    def claim(kind: Any, drawn: Build, ride: Build) -> list[str]:
        calls, model = [], ride(negative=0.5, mask=LEFT)
        plain = model.model._apply_model
        monkeypatch.setattr(
            model.model, "_apply_model", lambda x, *args, **more: calls.append(len(x)) or plain(x, *args, **more)
        )
        batch = drawn(model, cfg=3.0, batch=2, steps=2)
        wrong = [] if calls == [1, 4] * 2 else [f"calls {calls}"]
        wrong += [] if drawn(model, cfg=3.0, batch=2, steps=2).equal(batch) else ["warm is not cold"]
        wrong += ["something is kept"] if rider_of(model, Ride).kept else []
        return wrong + (["batch"] if gap(batch[:1], drawn(model, cfg=3.0, steps=2)) > ROUNDING else [])

    assert broken(claim) == {}


def test_tiles_in_one_call_look_at_a_reference_as_those_of_a_call_each():
    """Rows of both branches, of different parts of a mask."""

    def claim(kind: Any, drawn: Build, ride: Build) -> list[str]:
        def called(model: Any, caller: Any) -> Tensor:
            clone = model.clone()
            clone.set_model_unet_function_wrapper(caller)
            return drawn(clone, cfg=3.0)

        alone, together = (called(ride(negative=0.2, mask=LEFT), way) for way in (tile_by_tile, tiles_in_one_call))
        acts = gap(called(model_of(kind), tile_by_tile), alone) > 1e-2
        return ([] if acts else ["does not act"]) + (["differs"] if gap(together, alone) > ROUNDING else [])

    assert broken(claim) == {}


def test_pictures_of_a_batch_are_seen_together_or_each_by_its_frame():
    kind = TRANSFORMERS["Z-Image"]
    two, frames, one = (drawn(kind, ride(kind, images=n, per_frame=f), batch=2) for n, f in ((2, 0), (2, 1), (1, 0)))
    assert gap(frames[:1], one[:1]) < ROUNDING < 1e-3 < gap(frames[1:], one[1:])
    assert gap(two, one) > 1e-3


def test_every_frame_of_a_model_with_frames_has_the_mask_of_the_picture():
    """Qwen-Image's layers of one picture are frames of its latent."""
    kind = replace(TRANSFORMERS["Qwen-Image"], channels=(16, 2))

    def ridden(*masks: Any) -> Tensor:
        model = model_of(kind)
        for mask in masks:
            model = ride(TRANSFORMERS["Qwen-Image"], model, mask=mask)
        return drawn(kind, model)

    whole = ridden(None)
    assert whole.shape == (1, 16, 2, 8, 6) and gap(whole, ridden()) > 1e-3
    assert gap(ridden(LEFT, 1 - LEFT), whole) < ROUNDING < 1e-3 < gap(ridden(LEFT), whole)


def test_areas_of_other_widths_have_the_reference_on_their_own_right(monkeypatch):
    kind, seen = TRANSFORMERS["Flux"], []
    model = ride(kind, size=OTHER)
    plain = model.model._apply_model
    monkeypatch.setattr(
        model.model, "_apply_model", lambda x, *args, **more: seen.append(tuple(x.shape[2:])) or plain(x, *args, **more)
    )
    ((tokens, whole),) = text_of(kind, 10)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds([[tokens, whole], [tokens, {**whole, "area": (8, 4, 0, 0), "strength": 1.0}]], text_of(kind, 20))
    guider.set_cfg(1.0)
    noise = kind.latent(5)
    with torch.inference_mode():
        guider.sample(noise, noise * 0, comfy.samplers.ksampler("euler"), torch.tensor([0.8, 0.5, 0.0]), seed=5)
    assert sorted(seen) == sorted([SIZE, (8, 4), OTHER, OTHER] * 2)


def test_a_rotation_of_keys_moves_them_to_positions_aside():
    """Equal to the model's own rotation of positions that lie further to the right, or behind more text."""
    for kind in TRANSFORMERS.values():
        model, family = network(kind), joint_model_of(network(kind))
        positions = Positions(family, model)
        if not family.positions:
            continue
        embedder = getattr(model, family.positions)
        ids = seeded((1, 6, len(embedder.axes_dim)), 3) * 4
        plain = Positions(family, model, {(2, 7.0): embedder(ids)})  # a rotation of every token
        x = seeded((2, 2, 6, sum(embedder.axes_dim)), 4)
        by = torch.tensor([3.0 if family.behind_text else 0.0, 0.0, 7.0])
        moved = Positions(family, model, {(2, 7.0): embedder(ids + by)}).to_the_right(x, 7.0)
        there = positions.behind_text(positions.to_the_right(plain.to_the_right(x, 7.0), 7.0), 3)
        assert gap(there, moved) < 1e-5
        there = positions.behind_text(there, -3)
        assert (gap(there, moved) > 1e-2) == family.behind_text


def test_keys_are_kept_as_if_there_were_no_text(monkeypatch):
    """In the first block of Lumina 2, keys of a picture depend on its text by their position alone."""
    monkeypatch.setattr(Ride, "cleanup", lambda self: None)
    kept, kind = [], TRANSFORMERS["Lumina 2"]
    for tokens in (5, 40):
        text = [[seeded((1, tokens, kind.text), 1), {}]]
        model = ride_along(model_of(kind), {"samples": kind.latent(11)}, text, Looks(layers="all"))
        drawn(kind, model)
        ((_, captured),) = rider_of(model, Ride).kept.values()
        kept.append(captured)
    assert kept[0][0, True].k.shape == (1, 12, 128)  # the head of keys that two heads of queries share, once
    first, second = (gap(kept[0][layer, True].k, kept[1][layer, True].k) for layer in (0, 1))
    assert first < ROUNDING < 1e-3 < second


def test_what_is_kept_of_a_picture_that_is_filled_up_are_its_own_tokens(monkeypatch):
    """Z-Image fills 12 tokens of the picture up to 32, behind 32 of the text."""
    monkeypatch.setattr(Ride, "cleanup", lambda self: None)
    kind, seen = TRANSFORMERS["Z-Image"], []
    hook = network(kind).layers[0].attention.qkv.register_forward_hook(lambda _, args, out: seen.append(out))
    model = ride(kind)
    drawn(kind, model)
    hook.remove()
    ((_, kept),) = rider_of(model, Ride).kept.values()
    (of_reference,) = [out for out in seen if len(out) == 1][:1]
    assert kept[0, True].v.equal(of_reference[:, 32:44, 512:])


@pytest.mark.parametrize("name", ["Flux", "Qwen-Image"])  # the second masks its text too
def test_weights_of_an_edit_models_own_references_hold_beside_a_riding_one(name):
    kind = TRANSFORMERS[name]
    own, full = (kind.latent(3), kind.latent(4, OTHER)), torch.ones(1, 8, 6)

    def drawn(model: Any, references: Any = own) -> Tensor:
        return sample(model, kind, references, steps=1)

    def second(model: Any) -> Any:
        return weigh_references(model, 2, 0.5, 0.0, 1.0)

    for how in ({}, {"competes": False, "weight": 0.7}):
        model = ride(kind, **how)
        whole = drawn(model)
        assert gap(whole, drawn(model_of(kind))) > 1e-3
        assert gap(whole, drawn(model, ())) > 1e-3
        assert gap(drawn(weigh_references(model, 0, 1.0, 0.0, 1.0, full)), whole) < 2e-5
        assert drawn(ride(kind, second(model_of(kind)), **how)).equal(drawn(second(model)))
        assert gap(drawn(second(model)), whole) > 1e-4
        nearly_left_out = weigh_references(model, 2, 1e-30, 0.0, 1.0, full)
        assert gap(drawn(nearly_left_out), drawn(model, own[:1])) < 2e-5


def test_every_family_is_tried_here():
    tried = {joint_model_of(network(kind)) for kind in TRANSFORMERS.values()}
    untried = set(JOINT_MODELS.values()) - tried
    assert len(untried) <= len(EVERY_TRANSFORMER) - len(TRANSFORMERS)  # those that this release of ComfyUI lacks
    for kind in TRANSFORMERS.values():
        target = rideable(network(kind))
        assert len(target.blocks) == kind.layers
        assert list(target.layers["late"]) == list(range(kind.layers // 4, kind.layers))
        assert target.text_width == kind.text

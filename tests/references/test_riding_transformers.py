"""What holds of a riding reference in every family of transformers, on tiny models of ComfyUI's own classes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from pack.ipadapter.joint_models import JOINT_MODELS, joint_model_of
from pack.ipadapter.token_attention import rotate
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along, rideable
from pack.nodes.sampling import joint_attentions, riding
from pack.nodes.sampling.attach import rider_of
from pack.nodes.sampling.riding import Ride
from pack.weight_schedules.schedule import WeightSchedule
from references.edit_models import OTHER, SIZE, EditModel, model_of, network, sample, texts
from references.riding_models import TRANSFORMERS
from test_nodes_pack.standins import seeded

ROUNDING = 1e-5  # of the largest value, in float32 over all layers
LEFT = torch.tensor([1.0, 1, 1, 0, 0, 0]).expand(1, 8, 6)
Build = Callable[..., Any]


def ride(kind: EditModel, model: Any = None, seed: int = 11, size=SIZE, images: int = 1, **looks: Any) -> Any:
    """A model with one more reference, which competes for half of the attention in all layers."""
    given = {"layers": "all", "weight": 0.5, "competes": True} | looks
    latent = {"samples": torch.cat([kind.latent(seed + i, size) for i in range(images)])}
    return ride_along(model_of(kind) if model is None else model, latent, None, Looks(**given))


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def drawn(kind: EditModel, model: Any, steps: int = 1, **run: Any) -> Tensor:
    return sample(model, kind, (), steps=steps, **run)


def broken(claim: Callable[[EditModel, Build, Build], list[str]]) -> dict[str, list[str]]:
    """What a claim says is wrong, of every family in which something is."""
    found = {}
    for name, kind in TRANSFORMERS.items():
        found[name] = claim(kind, partial(drawn, kind), partial(ride, kind))
    return {name: wrong for name, wrong in found.items() if wrong}


def test_a_reference_acts_whatever_its_shape_layers_and_method():
    cases: dict[str, dict[str, Any]] = {
        "compete": {}, "swap": {"competes": False, "weight": 1.0}, "auto": {"competes": None, "weight": 1.0},
        "late": {"layers": "late"}, "wide": {"size": OTHER}, "two pictures": {"images": 2}, "match": {"match": 1.0},
        "one layer": {"schedule": WeightSchedule("0:1")}, "a half": {"mask": LEFT},
    }  # fmt: skip

    def claim(kind: EditModel, drawn: Build, ride: Build) -> list[str]:
        bare = drawn(model_of(kind))
        latents = {name: drawn(ride(**looks)) for name, looks in cases.items()}
        wrong = [name for name, latent in latents.items() if gap(latent, bare) < 1e-3 or not latent.isfinite().all()]
        return wrong + ([] if latents["auto"].equal(latents["compete"]) else ["auto is not half the weight, competing"])

    assert broken(claim) == {}


def test_without_a_share_the_picture_has_the_bits_of_the_models_own():
    silent: dict[str, dict[str, Any]] = {
        "weight 0": {"weight": 0.0}, "an empty mask": {"mask": torch.zeros(1, 8, 6)},
        "an empty mask, swap": {"mask": torch.zeros(1, 8, 6), "competes": False},
        "no layer": {"schedule": WeightSchedule("0:0")}, "outside of its range": {"start_at": 0.5},
    }  # fmt: skip

    def claim(kind: EditModel, drawn: Build, ride: Build) -> list[str]:
        bare = drawn(model_of(kind))
        wrong = [name for name, looks in silent.items() if not drawn(ride(**looks)).equal(bare)]
        cfg = drawn(model_of(kind), cfg=3.0)
        return wrong + ([] if drawn(ride(mask=torch.zeros(1, 8, 6)), cfg=3.0).equal(cfg) else ["cfg 3"])

    assert broken(claim) == {}


def test_shares_add_up_in_any_order_and_runs_are_equal():
    swap = {"competes": False, "weight": 1.0}

    def claim(kind: EditModel, drawn: Build, ride: Build) -> list[str]:
        pairs, whole, half = {}, drawn(ride(**swap)), drawn(ride())
        for name, how, one in (("compete", {}, half), ("swap", swap, whole)):
            pairs[f"{name}, a mask of ones"] = drawn(ride(mask=torch.ones(1, 8, 6), **how)), one
            pairs[f"{name}, two halves"] = drawn(ride(ride(mask=LEFT, **how), mask=1 - LEFT, **how)), one
            weights = [{**how, "weight": weight} for weight in (0.6, 0.3)]
            first, last = (drawn(ride(ride(seed=n, **weights[n]), seed=1 - n, **weights[1 - n])) for n in (0, 1))
            pairs[f"{name}, order"] = first, last
        pairs["twice"] = drawn(ride(ride(**swap), **swap)), whole
        pairs["compete at 1"] = drawn(ride(weight=1.0)), whole
        wrong = [name for name, (one, other) in pairs.items() if gap(one, other) > ROUNDING]
        model = ride()
        wrong += [] if drawn(model, steps=2).equal(drawn(model, steps=2)) else ["warm is not cold"]
        return wrong + (["something is kept"] if rider_of(model, Ride).kept else [])

    assert broken(claim) == {}


def test_a_reference_that_is_the_picture_changes_nothing_where_it_stands_and_something_aside(monkeypatch):
    """The reference's call gets the picture's latent and text. Its keys are those of the picture, unless moved."""
    aside = joint_attentions.columns_aside
    ways: list[dict[str, Any]] = [{}, {"competes": False, "weight": 0.7}, {"match": 1.0}]

    def claim(kind: EditModel, drawn: Build, ride: Build) -> list[str]:
        bare, wrong = drawn(model_of(kind)), []
        monkeypatch.setattr(riding, "noise_at", lambda sigma, like: seeded((1, *kind.channels, *SIZE), 5))
        for moved in (False, True):
            monkeypatch.setattr(joint_attentions, "columns_aside", aside if moved else lambda *_: 0.0)
            for how in ways:
                latent = {"samples": torch.zeros_like(kind.latent(1))}
                looks = Looks(**{"layers": "all", "weight": 0.5, "competes": True} | how)
                seen = drawn(ride_along(model_of(kind), latent, texts(kind, 10), looks))
                changed = gap(seen, bare)
                expected = changed > 1e-4 if moved and joint_model_of(network(kind)).positions else changed < ROUNDING
                wrong += [] if expected else [f"{how} moved {moved}: {changed:.1g}"]
        return wrong

    assert broken(claim) == {}


def test_rows_get_what_each_gets_alone_and_the_model_runs_once_a_step_on_a_reference(monkeypatch):
    def claim(kind: EditModel, drawn: Build, ride: Build) -> list[str]:
        calls, model, wrong = [], ride(negative=0.5, mask=LEFT), []
        plain = model.model._apply_model
        monkeypatch.setattr(
            model.model, "_apply_model", lambda x, *args, **more: calls.append(len(x)) or plain(x, *args, **more)
        )
        batch = drawn(model, cfg=3.0, batch=2)
        wrong += [] if calls == [1, 4] else [f"calls {calls}"]
        wrong += ["batch"] if gap(batch[:1], drawn(model, cfg=3.0)) > ROUNDING else []
        frames = [drawn(ride(images=2, per_frame=True), batch=2), drawn(ride(images=1), batch=1)]
        return wrong + (["per_frame"] if gap(frames[0][:1], frames[1]) > ROUNDING else [])

    assert broken(claim) == {}


def test_a_rotation_of_keys_moves_them_to_positions_aside():
    """Equal to the model's own rotation of positions that lie further to the right."""
    for kind in TRANSFORMERS.values():
        model = network(kind)
        family = joint_model_of(model)
        if not family.positions:
            continue
        embedder = getattr(model, family.positions)
        ids = seeded((1, 6, len(embedder.axes_dim)), 3) * 4
        by = torch.zeros(1, 1, len(embedder.axes_dim))
        by[..., 2] = 7.0
        x = seeded((2, 2, 6, sum(embedder.axes_dim)), 4)
        assert gap(rotate(rotate(x, embedder(ids)), embedder(by)), rotate(x, embedder(ids + by))) < 1e-5


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


def test_weights_of_an_edit_models_own_references_hold_beside_a_riding_one():
    kind = TRANSFORMERS["Flux"]
    own = (kind.latent(3), kind.latent(4, OTHER))

    def drawn(model: Any, references=own) -> Tensor:
        return sample(model, kind, references, steps=1)

    for how in ({}, {"competes": False, "weight": 0.7}):
        model = ride(kind, **how)
        whole = drawn(model)
        assert gap(whole, drawn(model_of(kind))) > 1e-3
        assert gap(whole, drawn(model, ())) > 1e-3
        masked = weigh_references(model, 0, 1.0, 0.0, 1.0, torch.ones(1, 8, 6))
        assert gap(drawn(masked), whole) < 2e-5
        without = weigh_references(weigh_references(model, 2, 0.5, 0.0, 1.0), 1, 0.0, 0.0, 1.0, LEFT)
        alone = weigh_references(weigh_references(model, 2, 0.5, 0.0, 1.0), 1, 0.0, 0.0, 1.0)
        assert gap(drawn(without), drawn(alone)) < 2e-5
        in_other_order = ride(kind, weigh_references(model_of(kind), 2, 0.5, 0.0, 1.0), **how)
        assert drawn(in_other_order).equal(drawn(weigh_references(model, 2, 0.5, 0.0, 1.0)))
        last = drawn(weigh_references(model, 2, 1e-30, 0.0, 1.0, 1 - LEFT + LEFT))
        assert gap(last, drawn(model, own[:1])) < 2e-5


def test_every_family_is_named_and_tried_here():
    tried = {joint_model_of(network(kind)) for kind in TRANSFORMERS.values()}
    assert tried == set(JOINT_MODELS.values())
    for kind in TRANSFORMERS.values():
        target = rideable(network(kind))
        assert len(target.blocks) == kind.layers
        assert list(target.layers["late"]) == list(range(kind.layers // 4, kind.layers))
        assert target.text_width == kind.text

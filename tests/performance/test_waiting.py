"""No step after the first waits for a GPU, except to read sigma once for each kind of node that depends on it.

The noise of a riding reference is drawn by the host in every step, so that it is the same on every device: a copy each.
"""

from collections import Counter
from functools import partial

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import transformer_rig
from identity import pulid_rig
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along
from pack.weight_schedules.schedule import WeightSchedule
from pack.weight_schedules.steps import StepCurve
from performance.devices import waits_of_steps
from performance.rig import Rig, half_mask
from references import edit_models
from test_nodes_pack.standins import seeded
from test_nodes_pack.transformers import TRANSFORMERS, model_of

RIG = Rig("two layers")
RISING = WeightSchedule(steps=StepCurve(shape="linear up", low=0.2, high=1.0))
KONTEXT = edit_models.MODELS["Flux Kontext"]
TWO = {"samples": seeded((2, 4, 8, 8), 11)}


def follow(kind, model, **strength):
    return transformer_rig.follow(model, transformer_rig.adapter(kind), transformer_rig.embeds(kind), **strength)


def frames_schedule_and_range(model):
    model = RIG.follow(model, images=3, per_frame=True, weight=[0.2, 0.5, 1.0], mask=half_mask(3))
    return RIG.follow(RIG.follow(model, 2, schedule=RISING, scaling="K+V"), 3, end_at=0.99)


def every_adapter_of_flux(model):
    model = follow("InstantX Flux", follow("XLabs Flux", model, mask=half_mask()), schedule=RISING)
    return pulid_rig.follow(model, pulid_rig.FLUX, mask=half_mask())


def weigh(model, **weight):
    return weigh_references(model, **{"reference": 0, "weight": 1.0, "start_at": 0.0, "end_at": 1.0} | weight)


def ride(model, latent=TWO, **looks):
    return ride_along(model, latent, None, Looks(**{"layers": "all", "weight": 0.5} | looks))


def ride_in_every_way(model):
    looks = {"mask": half_mask(), "negative": 0.5, "match": 0.5}
    return ride(ride(model, per_frame=True, **looks), competes=True, **looks)


def ride_in(kind, model):
    return ride(model, {"samples": kind.latent(11)}, competes=True)


def sample_kontext(model):
    return edit_models.sample(model, KONTEXT, [KONTEXT.latent(11), KONTEXT.latent(12, edit_models.OTHER)], cfg=2.0)


def sample_of(kind):
    return partial(edit_models.sample, kind=kind, references=(), cfg=2.0)


FLUX, QWEN, LUMINA = (TRANSFORMERS[name] for name in ("Flux", "Qwen-Image", "Z-Image"))
# By case: the bare model, what is applied, how it samples; reads of sigma and noises copied in a step.
CASES = {
    "UNet": (RIG.bare, frames_schedule_and_range, partial(RIG.sample, frames=3), 1, 0),
    "PuLID": (
        pulid_rig.bare, partial(pulid_rig.follow, name=pulid_rig.V1, projection="ortho_v2", zeros=8), pulid_rig.drawn,
        0, 0,
    ),
    "Flux": (
        partial(transformer_rig.tiny_model, "flux"), every_adapter_of_flux,
        partial(transformer_rig.sample, family="flux", cfg=3.0), 1, 0,
    ),
    "SD3.5": (
        partial(transformer_rig.tiny_model, "sd3.5"), partial(follow, "InstantX SD3.5", mask=half_mask()),
        partial(transformer_rig.sample, family="sd3.5", cfg=3.0), 1, 0,
    ),
    "weights of references": (
        partial(model_of, KONTEXT),
        lambda model: weigh(weigh(model, reference=1, mask=half_mask()), weight=0.7, schedule=RISING),
        sample_kontext, 1, 0,
    ),
    "riding references": (RIG.bare, ride_in_every_way, partial(RIG.sample, frames=2), 1, 2),
    "riding references in Flux": (partial(model_of, FLUX), partial(ride_in, FLUX), sample_of(FLUX), 1, 1),
    "riding references in Qwen-Image": (partial(model_of, QWEN), partial(ride_in, QWEN), sample_of(QWEN), 1, 1),
    "riding references in Z-Image": (partial(model_of, LUMINA), partial(ride_in, LUMINA), sample_of(LUMINA), 1, 1),
    "riding beside weighed references": (
        partial(model_of, KONTEXT), lambda model: weigh(ride_in(KONTEXT, model), weight=0.5, schedule=RISING),
        sample_kontext, 2, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_step_waits_for_sigma_alone(case):
    bare, apply, sample, reads, noises = CASES[case]
    plain = waits_of_steps(bare(), sample)[-1]
    _, step = waits_of_steps(apply(bare()), sample)
    assert (len(plain.reads), len(step.reads)) == (0, reads)
    copies = Counter(step.copies) - Counter(plain.copies)
    assert copies.total() == noises, copies

"""Reference pictures of edit models, weighed: what holds whatever the weights of the model are."""

import math

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from pack.ipadapter.errors import AdapterError
from pack.nodes.applying.references import weigh_references
from pack.nodes.sampling import reference_weights
from pack.nodes.sampling.attach import attach_rider
from pack.nodes.sampling.reference_weights import ReferenceWeight, ReferenceWeights
from pack.weight_schedules.layers import LayerWeights
from pack.weight_schedules.schedule import WeightSchedule, of_layers
from pack.weight_schedules.steps import StepCurve
from references.edit_models import MODELS, OTHER, SIZE, attentions, model_of, sample

ROUNDING = 2e-5  # of the largest value, in float32: a bias takes other kernels, and its logarithms round
ALONE = 5e-5  # the same through products of other batch sizes
LEFT = torch.tensor([1.0, 1, 0, 0, 0, 0]).expand(1, 8, 6)  # with its mirror image, it leaves the middle out


@pytest.fixture(scope="module", params=MODELS)
def kind(request):
    return MODELS[request.param]


@pytest.fixture(scope="module")
def references(kind):
    return kind.latent(11), kind.latent(12, OTHER)


@pytest.fixture(scope="module")
def own(kind, references):
    """The latents of the bare model: with both references, with the first, with none."""
    both, first, none = (sample(model_of(kind), kind, references[:count]) for count in (2, 1, 0))
    assert gap(both, none) > 1e-3 and gap(both, first) > 1e-3  # references act
    return {"both": both, "first": first, "none": none}


def gap(one, other):
    """The largest difference, as a part of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def weighed(kind, *settings, **one):
    """The model behind one IPAdapter Reference Weights node, or behind several."""
    model = model_of(kind)
    for setting in settings or (one,):
        model = weigh_references(model, **({"reference": 0, "weight": 1.0, "start_at": 0.0, "end_at": 1.0} | setting))
    return model


def uncut(monkeypatch):
    """Every reference reaches the model, so that only attentions leave it out."""
    monkeypatch.setattr(reference_weights, "heard_count", lambda levels, options: len(levels))


def directly(kind, weight, mask):
    """A model with a mask that the node would leave out, since it is white."""
    weights = of_layers(LayerWeights((weight,) * kind.layers))
    return attach_rider(model_of(kind), ReferenceWeights([ReferenceWeight(0, weights, mask=mask)]))


def test_weight_1_is_the_model_and_weight_0_the_model_without_references_bit_for_bit(kind, references, own):
    nowhere = WeightSchedule("0:0")
    empty = torch.zeros(1, *SIZE)
    same = {
        "weight 1": (weighed(kind), "both"),
        "weight 1 by a schedule": (weighed(kind, schedule=WeightSchedule("all:1")), "both"),
        "2 and then a half": (weighed(kind, {"weight": 2.0}, {"weight": 0.5}), "both"),
        "a white mask": (weighed(kind, mask=torch.ones(1, 3, 5)), "both"),
        "weight 0": (weighed(kind, weight=0.0), "none"),
        "an empty mask": (weighed(kind, mask=empty), "none"),
        "halves that do not meet": (weighed(kind, {"mask": LEFT}, {"mask": LEFT.flip(2)}), "none"),
        "no layer": (weighed(kind, schedule=nowhere), "none"),
        "no step": (weighed(kind, start_at=0.999, end_at=1.0), "none"),
        "weight 0 of the last": (weighed(kind, reference=2, weight=0.0), "first"),
        "a reference that is not there": (weighed(kind, reference=3, weight=0.0), "both"),
        "both, one by one": (weighed(kind, {"reference": 1, "weight": 0.0}, {"reference": 2, "weight": 0.0}), "none"),
    }
    wrong = [title for title, (model, like) in same.items() if not sample(model, kind, references).equal(own[like])]
    assert wrong == []


def test_so_it_is_with_negative_rows_whether_or_not_they_have_references(kind, references):
    for negative in (references, ()):
        run = {"cfg": 3.0, "negative": negative}
        full, gone = (sample(weighed(kind, weight=weight), kind, references, **run) for weight in (1.0, 0.0))
        assert full.equal(sample(model_of(kind), kind, references, **run))
        # A branch without references runs in a call of its own, and weight 0 does not join the calls.
        bound = 0 if negative else 2e-6
        assert gap(gone, sample(model_of(kind), kind, (), cfg=3.0)) <= bound


def test_weight_0_in_attentions_is_no_reference_too(kind, references, own, monkeypatch):
    uncut(monkeypatch)
    halves = weighed(kind, {"mask": LEFT}, {"mask": LEFT.flip(2)})  # through a bias
    for model in (weighed(kind, weight=0.0), halves):
        assert gap(sample(model, kind, references), own["none"]) < ROUNDING
    assert gap(sample(weighed(kind, reference=2, weight=0.0), kind, references), own["first"]) < ROUNDING


def test_a_white_mask_through_the_bias_is_none(kind, references, own):
    assert gap(sample(directly(kind, 1.0, torch.ones(1, *SIZE)), kind, references), own["both"]) < ROUNDING
    half, masked = weighed(kind, weight=0.5), directly(kind, 0.5, torch.ones(1, *SIZE))
    assert gap(sample(masked, kind, references), sample(half, kind, references)) < ROUNDING


def test_a_first_reference_that_is_not_heard_is_left_out_by_its_keys_or_by_an_empty_mask(kind, references):
    by_weight = sample(weighed(kind, reference=1, weight=0.0), kind, references)
    by_mask = sample(weighed(kind, reference=1, mask=torch.zeros(1, *SIZE)), kind, references)
    assert gap(by_mask, by_weight) < ROUNDING


def test_weights_multiply_in_any_order_and_two_runs_are_equal(kind, references, own):
    first, second = {"reference": 1, "weight": 0.4, "mask": LEFT}, {"weight": 2.5, "end_at": 0.6}
    one = weighed(kind, first, second)
    latents = sample(one, kind, references, cfg=3.0)
    assert gap(latents, sample(model_of(kind), kind, references, cfg=3.0)) > 1e-4
    assert latents.equal(sample(one, kind, references, cfg=3.0))
    assert gap(sample(weighed(kind, second, first), kind, references, cfg=3.0), latents) < ROUNDING
    product, factors = weighed(kind, weight=0.3), weighed(kind, {"weight": 0.5}, {"weight": 0.6})
    assert gap(sample(factors, kind, references), sample(product, kind, references)) < ROUNDING


def test_more_weight_means_more_of_the_reference(kind, references, own):
    effects = [gap(sample(weighed(kind, weight=weight), kind, references), own["none"]) for weight in (0.1, 0.3, 1.0)]
    assert 0 < effects[0] < effects[1] < effects[2]


def test_pictures_of_a_batch_do_not_see_each_other_and_masks_and_weights_of_frames_are_their_own(kind, references):
    frames = WeightSchedule("all:1", frames=(1.0, 0.25))
    masks = torch.cat((LEFT, LEFT.flip(2)))
    batch = sample(weighed(kind, weight=0.5, mask=masks, schedule=frames), kind, references, batch=2)
    alone = weighed(kind, weight=0.5, mask=LEFT)
    assert gap(batch[:1], sample(alone, kind, references)) < ALONE
    assert gap(batch[1:], sample(alone, kind, references, batch=2)[1:]) > 1e-5
    other = sample(weighed(kind, weight=0.125, mask=LEFT.flip(2)), kind, references, batch=2)
    assert gap(batch[1:], other[1:]) < ALONE


def test_layers_and_steps_are_those_of_the_model(kind, references, own):
    texts = [f"{layer}:1" for layer in range(kind.layers)]
    alone = [sample(weighed(kind, schedule=WeightSchedule(text)), kind, references) for text in texts]
    named = sample(weighed(kind, schedule=WeightSchedule(", ".join(texts))), kind, references)
    assert named.equal(own["both"])
    assert len({latents.sum().item() for latents in (*alone, own["none"], own["both"])}) == kind.layers + 2
    halves, fewer = (weighed(kind, schedule=WeightSchedule(text)) for text in ("all:0.5", "all:0.5, 1:0.25"))
    assert gap(sample(fewer, kind, references), sample(halves, kind, references)) > 1e-5
    fading = WeightSchedule("all", StepCurve("linear down", 0.0, 1.0))
    assert gap(sample(weighed(kind, schedule=fading), kind, references), own["both"]) > 1e-4


def test_references_that_nobody_hears_are_not_computed(kind, references):
    keys = []
    model = attentions(weighed(kind, reference=2, end_at=0.3), lambda q, k, mask: keys.append(k.shape[2]))
    sample(model, kind, references, steps=2)
    half = len(keys) // 2
    tokens = math.prod(-(-side // (getattr(model.model.diffusion_model, "patch_size", 2))) for side in OTHER)
    assert [first - second for first, second in zip(keys[:half], keys[half:], strict=True)][-kind.layers :] == (
        [tokens] * kind.layers
    )


def test_a_cuda_graph_is_not_recorded_of_weighed_attentions(kind, references, monkeypatch):
    """Its replay would repeat the weights of one step; here the graph is recorded inside of the model, emulated."""
    recording = [False]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: recording[0])
    model = weighed(kind, weight=0.5)
    network = model.model.diffusion_model
    handles = [
        network.register_forward_pre_hook(lambda *_: recording.__setitem__(0, True)),
        network.register_forward_hook(lambda *_: recording.__setitem__(0, False)),
    ]
    try:
        with pytest.raises(AdapterError, match="recorded as a CUDA graph"):
            sample(model, kind, references)
    finally:
        for handle in handles:
            handle.remove()

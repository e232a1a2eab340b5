"""InstantID's ControlNet in ComfyUI's chain of ControlNets, its drawing, and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy.controlnet import ControlNet, T2IAdapter
from torch import Tensor

from identity.instantid_rig import SIGMA, STRENGTH, Studio, close, texts
from pack.encoders.faces import FaceChoice
from pack.nodes.applying.control import with_face_control
from pack.nodes.applying.face_drawing import Drawing, control_picture, usual_canvas
from pack.nodes.applying.instantid import as_face_embeds
from pack.nodes.instantid_halves import ApplyInstantIDControlNet
from pack.weight_schedules.position import SamplingPosition
from transformer_rig import flux_control_net


@pytest.fixture(scope="module")
def studio(analysis, photo) -> Studio:
    return Studio(analysis, photo)


def test_both_halves_begin_and_end_with_the_range(studio):
    percents = (0.0, 0.9), (0.9, 1.0)  # SIGMA lies in the first range
    model, tokens = studio.apply()
    acting, resting = (studio.sampled(model, studio.control(texts(), tokens, active=active)) for active in percents)
    assert acting.equal(studio.sampled(model, studio.control(texts(), tokens)))
    assert resting.equal(studio.sampled(model, texts()))
    late = studio.apply(start_at=0.9)[0]
    assert studio.sampled(late, texts()).equal(studio.bare)


def test_a_step_at_either_end_of_the_range_belongs_to_both_halves_whatever_rounding_does(studio):
    def percent_of(scale: float) -> float:
        """A percent whose sigma is SIGMA but for rounding: a little below it, or above."""
        sampling = studio.model.get_model_object("model_sampling")
        near = SamplingPosition(sampling.percent_to_sigma).percent(SIGMA)
        tried = (near + 1e-8 * way * n for n in range(1000) for way in (-1, 1))
        return next(p for p in tried if 0 < (sampling.percent_to_sigma(p) / SIGMA - 1) / scale < 1)

    model, tokens = studio.apply()
    whole = studio.sampled(model, studio.control(texts(), tokens))
    for active in ((percent_of(-1e-6), 1.0), (0.0, percent_of(1e-6))):
        ranged = studio.apply(start_at=active[0], end_at=active[1])[0]
        assert studio.sampled(ranged, studio.control(texts(), tokens, active=active)).equal(whole), active


def test_a_photo_of_an_unusual_size_is_drawn_with_a_long_side_of_1280(studio):
    drawing = Drawing(FaceChoice("largest"))
    assert control_picture(studio.analysis, studio.photo("astronaut"), drawing).shape == (1, 1280, 1280, 3)
    sizes = {(4000, 3000): (1280, 960), (1016, 1016): (1016, 1016), (600, 300): (1280, 640), (768, 1536): (768, 1536)}
    assert {size: usual_canvas(size) for size in sizes} == sizes


def test_comfyui_loads_and_counts_the_whole_chain(studio, monkeypatch):
    conds = studio.control(studio.chained(texts()), studio.apply()[1])
    control = conds[0][0][1]["control"]
    assert {patcher.model for patcher in control.get_models()} == {net.control_model for net in studio.nets.values()}
    monkeypatch.setattr(ControlNet, "inference_memory_requirements", lambda net, dtype: 5, raising=False)
    assert control.inference_memory_requirements(torch.float32) == 10


@pytest.mark.skipif(not hasattr(ControlNet, "deepclone_multigpu"), reason="this ComfyUI samples on one GPU")
def test_a_clone_for_another_gpu_draws_the_same(studio):
    model, tokens = studio.apply(mask=studio.left)
    conds = studio.control(studio.chained(texts()), tokens, studio.left)
    control = conds[0][0][1]["control"]
    device = torch.device("cpu")
    twin = control.deepclone_multigpu(device, autoregister=True)  # as for another GPU
    assert control.get_instance_for_device(device) is twin and twin.previous_controlnet is None
    assert twin.net.control_model is not control.net.control_model
    twin.set_previous_controlnet(control.previous_controlnet)
    twins = [[[text, settings | {"control": twin}] for text, settings in cond] for cond in conds]
    assert studio.sampled(model, twins).equal(studio.sampled(model, conds))


def test_nets_that_could_not_read_a_face_are_refused(studio):
    _, tokens = studio.apply()
    adapter: Any = T2IAdapter(torch.nn.Identity(), 3, 8, "nearest-exact")
    cases = {"and got a T2IAdapter": adapter, "has no cross-attentions that could read a face": flux_control_net()}
    for message, net in cases.items():
        with pytest.raises(ValueError, match=message):
            with_face_control(texts(), net, studio.hints["face"], tokens, STRENGTH, (0.0, 1.0))


def test_a_drawing_in_grey_is_that_drawing_in_three_channels_and_a_reversed_range_is_refused(studio):
    model, tokens = studio.apply()
    grey = studio.hints["face"][..., :1]

    def drawn(hint: Tensor, **active: float) -> Tensor:
        given = as_face_embeds(tokens), studio.nets["face"], hint, *texts()
        return studio.sampled(model, list(ApplyInstantIDControlNet.run(*given, **active).result))

    assert drawn(grey).equal(drawn(grey.expand(-1, -1, -1, 3)))
    with pytest.raises(ValueError, match=r"start_at \(0.9\) lies after end_at \(0.1\), so the ControlNet"):
        drawn(grey, start_at=0.9, end_at=0.1)


def test_a_text_with_an_area_is_named_since_the_drawing_would_be_squeezed_into_it(studio, caplog):
    tokens = as_face_embeds(studio.apply()[1])
    positive, negative = texts()
    for area, said in ({"area": (4, 4, 0, 0)}, 1), ({"mask": studio.left, "set_area_to_bounds": True}, 1), ({}, 0):
        caplog.clear()
        placed = [[text, settings | area] for text, settings in positive]
        ApplyInstantIDControlNet.run(tokens, studio.nets["face"], studio.hints["face"], placed, negative)
        assert caplog.text.count("squeezes the whole drawing of the face") == said, area


def test_another_control_net_sees_the_text_before_and_behind(studio):
    model, tokens = studio.apply()
    expected = studio.published(second=0.65)
    close(studio.sampled(model, studio.chained(studio.control(texts(), tokens))), expected)
    close(studio.sampled(model, studio.control(studio.chained(texts()), tokens)), expected)


def test_a_black_mask_is_named_by_each_half(studio, caplog):
    tokens = as_face_embeds(studio.apply()[1])
    hint = studio.hints["face"]
    halves: dict[str, Callable[[Tensor | None], Any]] = {
        "mask is black everywhere, so the face acts nowhere": lambda mask: studio.apply(mask=mask),
        "mask is black everywhere, so the ControlNet acts nowhere": lambda mask: ApplyInstantIDControlNet.run(
            tokens, studio.nets["face"], hint, *texts(), mask=mask
        ),
    }
    for text, run in halves.items():
        for mask, said in ((torch.zeros(1, 64, 64), 1), (studio.left, 0), (None, 0)):
            caplog.clear()
            run(mask)
            assert caplog.text.count(text) == said, text

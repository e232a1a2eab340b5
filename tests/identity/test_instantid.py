"""InstantID on a tiny SDXL with a ControlNet of its layout: whole predictions, and what must not change them."""

from typing import Any

import pytest
import torch
from torch import Tensor

import synthetic
from harness.assets import FACE, SHALLOW
from identity.formulas import both, controlled, denoised, face_attention, predicted, text_attention
from pack.encoders.faces import FaceChoice, face_features
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.applying.apply import Strength
from pack.nodes.applying.control import with_face_control
from pack.nodes.applying.encoding import Reference
from pack.nodes.applying.instantid import apply_identity, side_by_side
from pack.nodes.loading.adapters import LoadedAdapter, manage
from test_nodes_pack.loaders import tiny_control_net
from test_nodes_pack.standins import POOLED, seeded
from test_nodes_pack.unets import tiny_model

SIGMA, CFG, WEIGHT, STRENGTH = 3.7, 4.5, 0.8, 0.7
SIZE = (6, 8)  # of the latent; odd on its second level
NOISE = seeded((2, 4, *SIZE), 5)
NETS = {"face": tiny_control_net(11, "sdxl shallow"), "other": tiny_control_net(12, "sdxl shallow")}
HINTS = {name: torch.rand(1, 48, 64, 3, generator=torch.Generator().manual_seed(n)) for n, name in enumerate(NETS)}
MODEL = tiny_model("sdxl shallow", 1)
LEFT = torch.zeros(1, 48, 64)
LEFT[..., :32] = 1
Conds = list[Any]


@pytest.fixture(scope="module")
def checkpoint():
    state = synthetic.adapter("InstantID", seed=3, **SHALLOW | FACE)
    return read_checkpoint(state, "ip-adapter.bin")


@pytest.fixture(scope="module")
def adapter(checkpoint) -> LoadedAdapter:
    return manage(checkpoint)


@pytest.fixture(scope="module")
def applied(adapter, analysis, photo):
    """`applied(name, ...)` is the tiny model with the face of a photo, and the face's tokens."""

    def apply(name: str = "astronaut", model: Any = MODEL, noise: float = 0.0, **strength: Any):
        reference = Reference(photo(name), face=FaceChoice("largest"), face_noise=noise)
        model, tokens = apply_identity(model, adapter, analysis, reference, Strength(**{"weight": WEIGHT} | strength))
        return model, side_by_side(tokens)

    return apply


def texts() -> list[Conds]:
    return [[[seeded((1, 8, 2048), seed), {"pooled_output": seeded((1, POOLED), seed + 1)}]] for seed in (10, 20)]


def control(
    conds: list[Conds], tokens: Any, net: str = "face", mask: Any = None, strength: float = STRENGTH
) -> list[Conds]:
    return with_face_control(conds, NETS[net], HINTS[net], tokens, strength, (0.0, 1.0), mask)


def chained(conds: list[Conds], net: str = "other", strength: float = 0.65) -> list[Conds]:
    """As ComfyUI's own Apply ControlNet does it."""
    import nodes

    return list(nodes.ControlNetApplyAdvanced().apply_controlnet(*conds, NETS[net], HINTS[net], strength, 0.0, 1.0))


def sampled(model: Any, conds: list[Conds]) -> Tensor:
    return denoised(model, *conds, SIGMA, NOISE, CFG)[1]


@pytest.fixture(scope="module")
def published(adapter, checkpoint, analysis, photo):
    """`published(mask, second)` is the prediction by the formulas: the face in the cross-attentions and in the
    ControlNet; `second` is the strength of another ControlNet, which sees the text.
    """
    vector = face_features(analysis, photo("astronaut"), 256, normed=False, choice=FaceChoice("largest")).embeds
    face = [adapter.network.project(None, row) for row in (vector, torch.zeros_like(vector))]
    x, bare = denoised(MODEL, *texts(), SIGMA, NOISE, CFG)
    base = MODEL.model

    def predict(mask: Tensor | None = None, second: float = 0.0, with_face: bool = True) -> Tensor:
        of_mask = None if mask is None else mask.unsqueeze(1)
        noise = []
        for tokens, cond in zip(face, texts(), strict=True):
            (text, settings), added = cond[0], None
            y = base.encode_adm(pooled_output=settings["pooled_output"], width=SIZE[1] * 8, height=SIZE[0] * 8)
            formula = text_attention
            if with_face:
                formula = face_attention(tokens, checkpoint.ip_adapter, WEIGHT, of_mask)
                added = controlled(base, NETS["face"], x, SIGMA, HINTS["face"], tokens, y, STRENGTH, of_mask)
            if second:
                other = controlled(base, NETS["other"], x, SIGMA, HINTS["other"], text, y, second)
                added = other if added is None else both(added, other)
            noise.append(predicted(base, x, SIGMA, text, y, formula, added))
        return x - SIGMA * (noise[1] + CFG * (noise[0] - noise[1]))

    with torch.inference_mode():
        torch.testing.assert_close(predict(with_face=False), bare, **SLACK)  # the formulas of everything but the face
        yield predict


SLACK = {"rtol": 1e-5, "atol": 5e-4}  # float32: sums in another order, times sigma and guidance, on values up to 100


def test_a_prediction_is_the_published_one(applied, published):
    model, tokens = applied()
    expected = published()
    torch.testing.assert_close(sampled(model, control(texts(), tokens)), expected, **SLACK)
    assert (expected - published(with_face=False)).abs().max() > 1  # the face is no rounding error


def test_another_control_net_sees_the_text_before_and_behind(applied, published):
    model, tokens = applied()
    expected = published(second=0.65)
    torch.testing.assert_close(sampled(model, chained(control(texts(), tokens))), expected, **SLACK)
    torch.testing.assert_close(sampled(model, control(chained(texts()), tokens)), expected, **SLACK)


def test_inside_a_mask_the_face_acts_and_outside_the_mask_neither_half_does(applied, published):
    model, tokens = applied(mask=LEFT)
    torch.testing.assert_close(sampled(model, control(texts(), tokens, mask=LEFT)), published(LEFT), **SLACK)

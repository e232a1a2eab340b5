"""Attention maps of an edit model's own references: the parts of the attention that its tokens really give them."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from pack.nodes.applying.references import weigh_references
from pack.nodes.attention_map import recorder_of
from pack.nodes.sampling.attach import watch
from references.edit_models import MODELS, OTHER, SIZE, attentions, model_of, sample

ROUNDING = 1e-5  # of a part of 1: the attention computes in float32, and `parts` in float64
LEFT = torch.tensor([1.0, 1, 1, 0, 0, 0]).expand(1, 8, 6)


def recorded(kind, model, **run):
    """The latents of a model with a recorder, and by layer and reference the maps of the last step."""
    recorder = recorder_of(model)
    latents = sample(watch(model, recorder), kind, (kind.latent(11), kind.latent(12, OTHER)), steps=1, **run)
    return latents, {(seen.layer, seen.reference): seen.share.flatten(1) for seen in recorder.seen}


def unwatched(kind, model):
    return sample(model, kind, (kind.latent(11), kind.latent(12, OTHER)), steps=1)


def weigh(model, *weights, mask=None):
    """A model whose references have these weights, and the first one a mask."""
    for number, weight in enumerate(weights, 1):
        model = weigh_references(model, number, weight, 0.0, 1.0, mask if number == 1 else None)
    return model


def parts(q: Tensor, k: Tensor, mask: Tensor | None, sizes: list[int], weights: list[Tensor]) -> list[Tensor]:
    """The part of the attention that tokens of the picture give to each reference, (rows, tokens)."""
    head, picture = k.shape[2] - sum(sizes), sizes[0]  # the first reference has the size of the picture
    logits = (q @ k.transpose(-1, -2))[:, :, head - picture : head].double() / q.shape[-1] ** 0.5
    odds = (logits if mask is None else logits + mask.unsqueeze(1)).softmax(-1)
    ends = head + sizes[0], head + sum(sizes)
    spans = slice(head, ends[0]), slice(*ends)
    for span, weight in zip(spans, weights, strict=True):
        odds[..., span] *= weight[:, None]
    odds /= odds.sum(-1, keepdim=True)
    return [odds[..., span].sum(-1).mean(1) for span in spans]


@pytest.mark.parametrize("title", MODELS)
def test_a_recorder_sees_the_part_of_the_attention_that_each_reference_gets(title):
    kind, seen = MODELS[title], []
    network = model_of(kind).model.diffusion_model
    patch = getattr(network, "patch_size", None) or network.patch
    sizes = [height // patch * (width // patch) for height, width in (SIZE, OTHER)]
    sniffed = attentions(model_of(kind), lambda q, k, mask: seen.append((q, k, mask)))
    latents, maps = recorded(kind, weigh(sniffed, 1.0))
    joint = [one for one in seen if one[1].shape[2] > sum(sizes)][::2]  # each a second time, for the recorder
    assert len(joint) == kind.layers and len(maps) == 3 * kind.layers
    ones = torch.ones(sizes[0])
    for layer, (q, k, mask) in enumerate(joint):
        first, second = parts(q, k, mask, sizes, [ones, ones])
        for number, part in enumerate((first + second, first, second)):
            torch.testing.assert_close(maps[layer, number], part.float(), rtol=0, atol=ROUNDING)
    assert latents.equal(unwatched(kind, weigh(model_of(kind), 1.0)))
    # In the first layer, queries and keys do not depend on the weights.
    latents, maps = recorded(kind, weigh(model_of(kind), 2.0, 0.25, mask=LEFT))
    on_tokens = torch.nn.functional.interpolate(LEFT[None], scale_factor=1 / patch, mode="area").flatten()
    q, k, mask = joint[0]
    expected = parts(q, k, mask, sizes, [2 * on_tokens, 0.25 * ones])
    for number, part in enumerate(expected, 1):
        torch.testing.assert_close(maps[0, number], part.float(), rtol=0, atol=ROUNDING)
    assert latents.equal(unwatched(kind, weigh(model_of(kind), 2.0, 0.25, mask=LEFT)))


def test_references_that_are_left_out_get_nothing():
    kind = MODELS["Flux Kontext"]
    for weights, silent in (((1.0, 0.0), [2]), ((0.0, 0.0), [0, 1, 2])):
        _, maps = recorded(kind, weigh(model_of(kind), *weights), cfg=2.0)
        assert len(maps) == 3 * kind.layers
        assert sorted({number for (_, number), share in maps.items() if not share.any()}) == silent

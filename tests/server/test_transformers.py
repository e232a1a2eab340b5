"""Image prompts on Flux and SD3.5 in a running ComfyUI server, on models that its own loader reads from files."""

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph
from harness.transformers import (
    FILES,
    INSTANTX,
    SD35,
    XLABS,
    adapted,
    apply,
    bare,
    family_of,
    half,
    latent,
    model,
    sample,
    solid,
    text,
)


@pytest.mark.parametrize("file", FILES)
def test_weight_zero_an_empty_mask_and_a_range_outside_equal_no_adapter_and_a_full_mask_equals_none(server, file):
    plain, prompted = latent(server, bare, file), latent(server, adapted(file), file)
    assert plain.isfinite().all() and (prompted - plain).abs().max() > 1e-3
    off = [
        adapted(file, weight=0.0),
        adapted(file, start_at=1.0, end_at=1.0),
        lambda g, m: apply(g, m, file, attn_mask=solid(g, 0.0))[0],
    ]
    for build in off:
        assert torch.equal(latent(server, build, file), plain)
    assert torch.equal(latent(server, lambda g, m: apply(g, m, file, attn_mask=solid(g, 1.0))[0], file), prompted)


@pytest.mark.parametrize("file", FILES)
def test_the_order_of_independent_references_does_not_matter(server, file):
    def both(first, second):
        return lambda g, m: apply(g, apply(g, m, file, first)[0], file, second)[0]

    one, other = latent(server, both(1, 2), file), latent(server, both(2, 1), file)
    assert (one - latent(server, adapted(file), file)).abs().max() > 1e-3
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)  # sums in another order


def test_changing_the_second_adapter_of_a_chain_equals_a_cold_run(server):
    g = Graph()
    second = apply(g, apply(g, model(g, "flux"), XLABS, 1)[0], INSTANTX, 2, weight=0.5)
    g.save("warm", sample(g, second[0], "flux")[0])
    server.run(g)
    for weight in (0.7, 0.9):
        second.set(weight=weight)
        warm = server.run(g).tensor("warm")
    server.forget()
    cold = latent(server, lambda g, m: apply(g, apply(g, m, XLABS, 1)[0], INSTANTX, 2, weight=0.9)[0])
    assert torch.equal(warm, cold)


@pytest.mark.parametrize("file", FILES)
def test_a_range_and_negative_rows_of_cfg_act(server, file):
    early = latent(server, adapted(file, end_at=0.4), file, steps=4)
    assert not torch.equal(early, latent(server, adapted(file), file, steps=4))
    assert not torch.equal(early, latent(server, bare, file, steps=4))
    assert not torch.equal(latent(server, adapted(file), file, cfg=3.0), latent(server, bare, file, cfg=3.0))


@pytest.mark.parametrize("file", FILES)
def test_two_halves_with_two_references_differ_from_either_alone(server, file):
    def halves(g, m):
        return apply(g, apply(g, m, file, 1, attn_mask=half(g, 0))[0], file, 2, attn_mask=half(g, 32))[0]

    both = latent(server, halves, file)
    for image in (1, 2):
        assert not torch.equal(both, latent(server, adapted(file, image=image), file))


@pytest.mark.parametrize("file", FILES)
def test_two_areas_of_text_have_each_their_part_of_a_mask(server, file):
    """Disjoint areas never see each other, so each ends as it would without a mask, or without an adapter."""

    side = {"width": 0.5, "height": 1.0, "y": 0.0, "strength": 1.0}

    def areas(build, masked=None):
        g, family = Graph(), family_of(file)
        m = build(g, model(g, family), **({} if masked is None else {"attn_mask": half(g, masked)}))
        parts = [
            g.add("ConditioningSetAreaPercentage", conditioning=text(g, family, seed), x=x, **side)
            for seed, x in ((10, 0.0), (11, 0.5))
        ]
        both = g.add("ConditioningCombine", conditioning_1=parts[0][0], conditioning_2=parts[1][0])
        g.save("areas", sample(g, m, family, positive=both[0])[0])
        return server.run(g).tensor("areas")

    build = lambda g, m, **more: apply(g, m, file, **more)[0]  # noqa: E731
    none, full, left, right = areas(bare), areas(build), areas(build, 0), areas(build, 32)
    for x, masked in ((0, left), (4, right)):
        inside, outside = slice(x, x + 4), slice(4 - x, 8 - x)
        assert (full - none)[..., inside].abs().max() > 1e-3
        assert torch.equal(masked[..., inside], full[..., inside])
        assert torch.equal(masked[..., outside], none[..., outside])


@pytest.mark.parametrize(
    ("file", "family", "words"),
    [
        (XLABS, "sd3.5", r"was made for Flux, and the model is SD3\.5\. Load an adapter for SD3\.5, or a Flux"),
        (SD35, "flux", r"was made for SD3\.5, and the model is Flux"),
        ("ip-adapter_sd15.safetensors", "flux", r"was made for SD1\.5, and the model is Flux"),
    ],
)
def test_an_adapter_for_another_family_is_refused_by_name(server, file, family, words):
    g = Graph()
    g.save("refused", sample(g, apply(g, model(g, family), file)[0], family)[0])
    with pytest.raises(PromptError, match=words):
        server.run(g)


@pytest.mark.parametrize("file", FILES)
def test_weight_types_of_unets_are_refused_before_sampling(server, file):
    with pytest.raises(PromptError, match=r"'style transfer' needs to know .* Use linear, ease in"):
        latent(server, adapted(file, weight_type="style transfer"), file)
    eased = latent(server, adapted(file, weight_type="ease out"), file)
    assert not torch.equal(eased, latent(server, adapted(file), file))


@pytest.mark.parametrize("file", FILES)
def test_a_sweep_and_a_recorder_work_as_on_unets(server, file):
    """A sweep gives each block that the adapter has weights for its row; a map is where the picture is."""
    g, family = Graph(), family_of(file)
    adapted = apply(g, model(g, family), file)[0]
    positive, negative = (g.add("TestConditioning", family=family, seed=seed, tokens=5)[0] for seed in (10, 20))
    latent_image = g.add("EmptySD3LatentImage", width=64, height=96, batch_size=1)[0]
    links = {"positive": positive, "negative": negative, "latent_image": latent_image}
    widgets = {"seed": 5, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    sweep = g.add(
        "IPAdapterLayerSweep", model=adapted, vae=g.add("TestVae", family=family)[0], layers="all", factors="1",
        others=0.0, cell=64, **links, **widgets,
    )  # fmt: skip
    g.save("swept", sweep[1])
    recorder = g.add("IPAdapterAttentionRecorder", model=adapted)
    sampled = g.add("KSampler", model=recorder[0], **links, **widgets)
    picture = g.add("VAEDecode", samples=sampled[0], vae=g.add("TestVae", family=family)[0])
    settings = {"layers": "0-1", "start": 0.0, "end": 1.0, "contrast": "share", "opacity": 0.5}
    g.save("map", g.add("IPAdapterAttentionMap", attention=recorder[1], image=picture[0], **settings)[0])
    result = server.run(g)
    swept, share = result.tensor("swept"), result.tensor("map")
    assert len(swept) == {XLABS: 2, INSTANTX: 4, SD35: 2}[file]
    assert len({image.numpy().tobytes() for image in swept}) == len(swept)
    assert share.isfinite().all() and share.max() > 0

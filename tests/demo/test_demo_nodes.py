"""The demo's nodes in a running server, with ComfyUI's own nodes around them."""

import numpy as np
import pytest
import torch
from PIL import Image

from demo.studio import held_out
from harness.client import PromptError
from harness.demo_graph import SIZE, Drawing, Follow, apply, draw, half_mask, sample
from harness.graph import Graph
from harness.host import ROOT

FOLLOWED = Follow("navy on stripes")
SHOWN = {"layers": "all", "start": 0.0, "end": 1.0, "contrast": "share", "opacity": 0.5}


def latent_of(server, drawing, **more):
    """The latent of a drawing after two steps; `more` goes into IPAdapter Advanced."""
    graph, _ = draw(drawing)
    for node in graph.prompt.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 2
        if node["class_type"] == "IPAdapterAdvanced":
            node["inputs"] |= more
    sampler = next(id for id, node in graph.prompt.items() if node["class_type"] == "KSampler")
    graph.save("latent", [sampler, 0])
    return server.run(graph).tensor("latent")


@pytest.mark.parametrize("adapter", ["standard", "plus"])
def test_weight_zero_is_no_adapter_and_weight_one_is_not(server, adapter):
    plain = latent_of(server, Drawing("house", adapter=adapter))
    with_reference = Drawing("house", (FOLLOWED,), adapter=adapter)
    assert torch.equal(plain, latent_of(server, with_reference, weight=0.0))
    assert not torch.equal(plain, latent_of(server, with_reference, weight=1.0))
    assert plain.shape == (1, 8, SIZE // 8, SIZE // 8)


def test_the_same_graph_gives_the_same_bits_after_everything_was_forgotten(server):
    drawing = Drawing("fish", (FOLLOWED,))
    first = latent_of(server, drawing)
    server.forget()
    assert torch.equal(first, latent_of(server, drawing))


def test_two_halves_with_one_reference_are_one_reference_everywhere(server):
    left, right = (Follow("navy on stripes", half=half) for half in ("left", "right"))
    both = latent_of(server, Drawing("tree", (left, right)))
    everywhere = latent_of(server, Drawing("tree", (FOLLOWED,)))
    # At the grid of three columns, the middle one gets half of each: the same sum, in another order.
    assert torch.allclose(both, everywhere, atol=1e-4)
    assert not torch.allclose(both, latent_of(server, Drawing("tree", (left,))), atol=1e-2)


@pytest.mark.parametrize("words", ["dragon", "a house in Paris", "star star star star", "(star star:1.2) star star"])
def test_words_that_the_models_do_not_know_are_refused_before_sampling_by_name(server, words):
    with pytest.raises(PromptError, match="know these words: circle, .*mountains") as refused:
        server.run(draw(Drawing(words))[0])
    assert refused.value.node_type is None  # the server refused the graph


def test_articles_and_capitals_do_not_matter_and_another_word_does(server):
    plain = latent_of(server, Drawing("house"))
    assert torch.equal(plain, latent_of(server, Drawing("A House,")))
    assert not torch.equal(plain, latent_of(server, Drawing("boat")))


def test_a_weight_of_a_word_moves_it_away_from_nothing(server):
    plain = latent_of(server, Drawing("fish"))
    assert torch.equal(plain, latent_of(server, Drawing("(fish:1.0)")))
    assert torch.equal(latent_of(server, Drawing("(fish:0)")), latent_of(server, Drawing("(house:0)")))
    assert not torch.equal(plain, latent_of(server, Drawing("a (fish:1.5)")))


def with_words_from_another_node(words):
    graph, saved = draw(Drawing("moon"))
    prompt = next(node for node in graph.prompt.values() if node["class_type"] == "IPAdapterDemoPrompt")
    prompt["inputs"]["words"] = graph.add("PrimitiveString", value=words)[0]
    return graph, saved


def test_words_may_come_from_another_node_and_are_checked_when_they_arrive(server):
    (linked, saved), (typed, wanted) = with_words_from_another_node("star"), draw(Drawing("star"))
    assert server.run(linked).images(saved.id)[0].tobytes() == server.run(typed).images(wanted.id)[0].tobytes()
    with pytest.raises(PromptError, match="The prompt has: dragon") as refused:
        server.run(with_words_from_another_node("dragon")[0])
    assert refused.value.node_type == "IPAdapterDemoPrompt"


def test_the_reference_node_shows_the_picture_that_comes_with_the_pack(server):
    g = Graph()
    g.save("picture", g.add("IPAdapterDemoReference", picture="red on strokes")[0])
    with Image.open(ROOT / "demo_models" / "references" / "red on strokes.png") as opened:
        wanted = torch.from_numpy(np.asarray(opened.convert("RGB"), dtype=np.float32) / 255)
    assert torch.equal(server.run(g).tensor("picture")[0], wanted)


def test_the_vae_brings_a_drawn_picture_back(server):
    pictures = held_out().pictures[:8].movedim(1, -1)
    name = server.output.parent / "input" / "drawn.png"
    frames = [Image.fromarray(picture.numpy()) for picture in pictures]
    frames[0].save(name, save_all=True, append_images=frames[1:])
    g = Graph()
    vae = g.add("IPAdapterDemoLoader", adapter="plus")[3]
    image = g.add("LoadImage", image=name.name)
    latent = g.add("VAEEncode", pixels=image[0], vae=vae)
    g.save("latent", latent[0])
    g.save("back", g.add("VAEDecode", samples=latent[0], vae=vae)[0])
    result = server.run(g)
    assert result.tensor("latent").shape == (8, 8, 12, 12)
    difference = (result.tensor("back") - pictures / 255).abs().mean(dim=(1, 2, 3))
    # Half of these have textures that it was not trained on, and every edge is a little soft.
    assert difference.mean() < 0.06 and difference.max() < 0.12


def test_a_missing_file_is_named(monkeypatch, tmp_path):
    from pack.nodes.loading import demo_models

    monkeypatch.setattr(demo_models, "FOLDER", tmp_path)
    with pytest.raises(demo_models.AdapterError, match=r"vision\.safetensors is missing: .*install the pack again"):
        demo_models.load_vision()


def test_every_apply_node_of_the_pack_takes_the_demo_models(server):
    """Several at once, in a row: what leaves one is what the next one takes."""
    g = Graph()
    models = g.add("IPAdapterDemoLoader", adapter="plus")
    reference = g.add("IPAdapterDemoReference", picture="cream on waves")
    mask = half_mask(g, "left")
    first = apply(g, models, models[0], reference[0], FOLLOWED)
    second = g.add(
        "IPAdapterApply", ipadapter=models[2], clip_vision=models[1], image=reference[0], model=first[0], weight=0.5,
        noise=0.0, weight_type="original", start_at=0.0, end_at=0.5, unfold_batch=False, attn_mask=mask[0],
    )  # fmt: skip
    recorder = g.add("IPAdapterAttentionRecorder", model=second[0])
    picture = sample(g, models, recorder[0], "star", seed=3, steps=2)
    shown = g.add("IPAdapterAttentionMap", attention=recorder[1], image=picture[0], **SHOWN)
    g.save("mask", shown[0])
    assert server.run(g).tensor("mask").isfinite().all()

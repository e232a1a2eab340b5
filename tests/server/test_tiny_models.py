"""The tiny models of the tests behave as the models they stand for, in a running server."""

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph
from harness.sampling import sample


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sdxl shallow", "ssd-1b", "vega", "koala"])
def test_every_family_samples_finite_latents(server, family):
    g = Graph()
    width = "sd15" if family == "sd15" else "sdxl"
    g.save("latent", sample(g, g.add("TestModel", family=family, seed=1)[0], width)[0])
    latent = server.run(g).tensor("latent")
    assert latent.shape == (1, 4, 8, 8) and latent.isfinite().all() and latent.std() > 0.1


def test_a_run_repeats_bit_for_bit_and_unchanged_nodes_are_cached(server):
    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)
    sampler = sample(g, model[0])
    g.save("latent", sampler[0])
    first = server.run(g).tensor("latent")
    sampler.set(seed=6)
    other = server.run(g)
    sampler.set(seed=5)
    assert model.id in other.cached and sampler.id not in other.cached
    assert not torch.equal(first, other.tensor("latent"))
    assert torch.equal(first, server.run(g).tensor("latent"))


def test_a_refused_graph_says_which_node_and_why(server):
    g = Graph()
    g.save("latent", sample(g, g.add("TestModel", family="sd15", seed=1)[0], steps=0)[0])
    with pytest.raises(PromptError, match="KSampler: Value 0 smaller than min"):
        server.run(g)


def test_a_node_that_raises_says_why(server):
    g = Graph()
    g.save("nothing", g.add("TestCheckpoint", ckpt_name="sd15")[1])
    with pytest.raises(PromptError, match="TestSaveTensor got TextStandIn without a tensor in it"):
        server.run(g)


def test_a_checkpoint_stand_in_makes_a_picture_from_text(server):
    g = Graph()
    checkpoint = g.add("TestCheckpoint", ckpt_name="sd15.safetensors")
    sampler = sample(g, checkpoint[0])
    positive = g.add("CLIPTextEncode", clip=checkpoint[1], text="a cat on a chair")
    sampler.set(positive=positive[0])
    saved = g.add("SaveImage", images=g.add("VAEDecode", samples=sampler[0], vae=checkpoint[2])[0], filename_prefix="x")
    (picture,) = server.run(g).images(saved.id)
    assert picture.size == (64, 64) and len(picture.convert("RGB").getcolors(4096) or ()) > 50


def test_clip_vision_gives_257_tokens_and_the_asked_widths(server):
    g = Graph()
    vision = g.add("TestClipVision", seed=3, hidden=64, projection=32)
    encoded = g.add("CLIPVisionEncode", clip_vision=vision[0], image=g.add("TestImage", seed=1)[0], crop="center")
    g.save("features", encoded[0])
    features = server.run(g).tensors("features")
    assert features["image_embeds"].shape == (1, 32)
    assert features["penultimate_hidden_states"].shape == (1, 257, 64)

"""IPAdapter Reference Weights in a running ComfyUI, on a tiny Flux that ComfyUI's own loader reads from a file."""

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph
from harness.transformers import XLABS, apply, half, model, sample, text

ALL = {"reference": 0, "weight": 1.0, "start_at": 0.0, "end_at": 1.0}


def edited(g, *nodes, references=1, prompted=False):
    """The picture that a Flux makes of its own pictures as references, behind nodes with these inputs."""
    m = model(g, "flux")
    picture = sample(g, m, "flux", positive=text(g, "flux", 30))
    positive = text(g, "flux", 10)
    for _ in range(references):
        positive = g.add("ReferenceLatent", conditioning=positive, latent=picture[0])[0]
    m = apply(g, m, XLABS)[0] if prompted else m
    for node in nodes:
        m = g.add("IPAdapterReferenceWeights", model=m, **(ALL | node))[0]
    return sample(g, m, "flux", positive=positive)


def test_weights_masks_and_ranges_reach_the_references_of_a_model(server):
    g = Graph()
    fading = g.add("IPAdapterWeightSchedule", layers="linear", layer_text="double:1, single:0.5", steps="constant",
                   low=0.0, high=1.0, start=0.0, end=1.0)[0]  # fmt: skip
    ways = {
        "own": (), "one": ({},), "none": ({"weight": 0.0},), "half": ({"weight": 0.5},), "late": ({"start_at": 0.9},),
        "left": ({"attn_mask": half(g, 0)},), "layers": ({"schedule": fading},),
        "factors": ({"weight": 0.25, "reference": 1}, {"weight": 2.0}),
    }  # fmt: skip
    for name, nodes in ways.items():
        g.save(name, edited(g, *nodes)[0])
    g.save("bare", edited(g, references=0)[0])
    for name, nodes in {"prompted": (), "both": ({"weight": 0.0},)}.items():
        g.save(name, edited(g, *nodes, prompted=True)[0])
    g.save("prompt alone", edited(g, references=0, prompted=True)[0])
    result = server.run(g)
    names = (*ways, "bare", "prompted", "both", "prompt alone")
    latents = {name: result.tensor(name) for name in names}
    assert latents["one"].equal(latents["own"]) and latents["none"].equal(latents["bare"])
    assert latents["both"].equal(latents["prompt alone"])
    torch.testing.assert_close(latents["factors"], latents["half"], rtol=0, atol=1e-4)  # weights by two multiplications
    assert latents["late"].equal(latents["bare"])  # none of the two steps lies behind 90 % of sampling
    different = ("own", "bare", "half", "left", "layers", "prompted", "both")
    pairs = [(one, other) for one in different for other in different if one < other]
    assert [pair for pair in pairs if latents[pair[0]].equal(latents[pair[1]])] == []


def test_a_model_that_takes_no_references_is_refused_when_the_graph_runs(server):
    g = Graph()
    weighed = g.add("IPAdapterReferenceWeights", model=g.add("TestModel", family="sd15", seed=1)[0], **ALL)
    g.save("never", sample(g, weighed[0], "flux")[0])
    with pytest.raises(PromptError, match="This model .UNetModel. takes no reference pictures of its own") as refused:
        server.run(g)
    assert refused.value.node_type == "IPAdapterReferenceWeights"

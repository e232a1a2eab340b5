"""The same counts in a running ComfyUI server, where its own KSampler code samples for a graph."""

from collections import Counter

import pytest

from harness.graph import Graph
from harness.sampling import TOKENS, apply

CASES = {"sd15": ("ip-adapter_sd15.safetensors", 16), "sdxl": ("ip-adapter_sdxl_vit-h.safetensors", 70)}


@pytest.mark.parametrize("family", CASES)
def test_a_step_costs_six_operations_a_layer_and_four_for_a_second_adapter(server, family):
    file, layers = CASES[family]
    g = Graph()
    bare = g.add("TestModel", family=family, seed=1)
    mask = g.add("SolidMask", value=0.5, width=64, height=64)
    first = apply(g, bare[0], image=1, file=file)
    models = {
        "bare": bare,
        "plain": first,
        "mask": apply(g, bare[0], image=1, file=file, attn_mask=mask[0]),
        "second": apply(g, first[0], image=2, file=file),
        "range": apply(g, bare[0], image=1, file=file, end_at=0.999),
        "idle": apply(g, bare[0], image=1, file=file, start_at=1.0),
    }
    positive, negative = (g.add("TestConditioning", family=family, seed=seed, tokens=TOKENS) for seed in (10, 20))
    latent = g.add("EmptyLatentImage", width=64, height=64, batch_size=1)
    steps = {
        name: g.add(
            "TestCountedStep", model=model[0], positive=positive[0], negative=negative[0], latent_image=latent[0]
        )
        for name, model in models.items()
    }
    outputs = server.run(g).outputs
    counts = {name: Counter(outputs[step.id]["counts"][0]) for name, step in steps.items()}
    added = {name: sum(count.values()) - sum(counts["bare"].values()) for name, count in counts.items()}
    assert added == {
        "bare": 0,
        "plain": 6 * layers,
        "mask": 6 * layers,
        "second": 10 * layers,
        "range": 6 * layers + 2,
        "idle": 2,
    }

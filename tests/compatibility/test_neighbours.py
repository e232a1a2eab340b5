"""Image prompts and their neighbours in one graph: each acts as it does alone, and neither takes from the other."""

import pytest

from compatibility.neighbours import NEIGHBOURS, Neighbour
from harness.graph import Link
from harness.wiring import Wiring


def ours(w: Wiring, model: Link, **widgets: float) -> Link:
    return w.add("IPAdapterAdvanced", model=model, **widgets)[0]


def graph_of(server, near: Neighbour) -> tuple[Wiring, list[str]]:
    """Every way to sample with and without the neighbour, each under its name."""
    w = Wiring(server, near.family)
    w.model = model = near.model_of(w)
    anew = near.model_of(w, again=1)  # ComfyUI's cache does not know it, so all is computed once more
    beside = near.model or (lambda w, model: model)
    with_it = beside(w, model)
    pictures = {
        "bare": near.plain(w, model),
        "ours": near.plain(w, ours(w, model)),
        "neighbour": near.picture(w, with_it),
        "at weight 0": near.picture(w, ours(w, with_it, weight=0.0)),
        "out of range": near.picture(w, ours(w, with_it, start_at=0.4, end_at=0.6)),
        "both": near.picture(w, ours(w, with_it)),
        "other order": near.picture(w, beside(w, ours(w, anew))),
    }
    for name, latent in pictures.items():
        w.graph.save(name, latent)
    return w, list(pictures)


@pytest.fixture(scope="module", params=NEIGHBOURS)
def latents(request, server):
    near = NEIGHBOURS[request.param]
    if near.needs not in ("", *server.call("/object_info")):
        pytest.skip(f"this ComfyUI has no {near.needs}")
    w, names = graph_of(server, near)
    result = server.run(w.graph)
    return {name: result.tensor(name) for name in names}


def test_without_weight_the_neighbour_is_as_if_alone(latents):
    assert latents["at weight 0"].equal(latents["neighbour"])


def test_outside_of_its_steps_a_prompt_leaves_the_neighbour_as_if_alone(latents):
    assert latents["out of range"].equal(latents["neighbour"])


def test_both_act(latents):
    assert all(latent.isfinite().all() for latent in latents.values())
    for alone in ("bare", "ours", "neighbour"):
        assert not latents["both"].equal(latents[alone]), alone
    assert not latents["neighbour"].equal(latents["bare"])


def test_the_same_nodes_in_any_order_on_a_model_made_anew_give_the_same_bits(latents):
    assert latents["other order"].equal(latents["both"])

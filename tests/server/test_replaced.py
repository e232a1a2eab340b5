"""Beside a node that puts its own patch in every cross-attention, as attention-couple packs do, in either order."""

from harness.sampling import sample
from harness.wiring import Wiring

SAID = "Another node replaced the image prompts in"


def said(w: Wiring) -> list[str]:
    return [line for line in w.server.log.splitlines() if SAID in line]  # type: ignore[attr-defined]


def couple(w: Wiring, model: list, **more: bool) -> list:
    return w.graph.add("TestCouple", model=model, **{"calls_earlier": False} | more)[0]


def test_a_patch_after_ours_that_drops_it_is_named_once_per_run(server):
    w = Wiring(server)
    before = len(said(w))
    latents = w.latents(steps=3, dropped=couple(w, w.add("IPAdapterAdvanced")[0]), couple=couple(w, w.model))
    assert latents["dropped"].equal(latents["couple"])  # nothing is left of the image prompt
    new = said(w)[before:]
    assert len(new) == 1
    assert "16 of 16 places" in new[0] and "callers.TestCouple" in new[0]
    assert "Put that node before the IPAdapter nodes" in new[0]
    again = sample(w.graph, couple(w, w.add("IPAdapterAdvanced", weight=0.5)[0]))
    w.graph.save("again", again[0])
    server.run(w.graph)
    assert len(said(w)) == before + 2


def test_only_places_that_a_prompt_reaches_count(server):
    w = Wiring(server)
    before = len(said(w))
    w.latents(dropped=couple(w, w.add("IPAdapterAdvanced", weight_type="composition")[0]))
    assert "2 of 2 places" in said(w)[before]


def test_a_patch_before_ours_acts_beside_it_and_one_after_ours_that_calls_it_too(server):
    w = Wiring(server)
    before = len(said(w))
    w.model = bare = couple(w, w.model)
    first = w.add("IPAdapterAdvanced")[0]
    w.model = w.graph.add("TestModel", family="sd15", seed=1)[0]
    calling = couple(w, w.add("IPAdapterAdvanced")[0], calls_earlier=True)
    latents = w.latents(first=first, couple=bare, calling=calling)
    assert not latents["first"].equal(latents["couple"]) and not latents["first"].equal(latents["bare"])
    assert latents["calling"].equal(latents["first"])  # q, k and v are the same to the image prompt
    assert len(said(w)) == before


def test_a_prompt_that_never_acts_is_not_missed(server):
    w = Wiring(server)
    before = len(said(w))
    w.latents(off=couple(w, w.add("IPAdapterAdvanced", weight=0.0)[0]))
    assert len(said(w)) == before

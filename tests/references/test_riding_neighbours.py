"""A riding reference and its neighbours in one graph: both act, in either order."""

from compatibility.neighbours import NEIGHBOURS, Neighbour
from harness.graph import Link
from harness.wiring import Wiring


def ours(w: Wiring, model: Link) -> Link:
    pixels = w.image(1, width=64, height=64)
    latent = w.graph.add("VAEEncode", pixels=pixels, vae=w.graph.add("TestVae", family="sd15")[0])
    return w.add("IPAdapterReferenceAttention", model=model, latent=latent[0], layers="all")[0]


def offences(server, near: Neighbour) -> list[str]:
    """What is not as it should be beside a neighbour."""
    w = Wiring(server, near.family)
    w.model = model = near.model_of(w)
    anew = near.model_of(w, again=1)  # ComfyUI's cache does not know it, so all is computed once more
    beside = near.model or (lambda w, model: model)
    with_it = beside(w, model)
    pictures = {
        "ours": near.plain(w, ours(w, model)),
        "neighbour": near.picture(w, with_it),
        "both": near.picture(w, ours(w, with_it)),
        "other order": near.picture(w, beside(w, ours(w, anew))),
    }
    for name, latent in pictures.items():
        w.graph.save(name, latent)
    result = server.run(w.graph)
    latents = {name: result.tensor(name) for name in pictures}
    found = [f"both is {alone}" for alone in ("ours", "neighbour") if latents["both"].equal(latents[alone])]
    found += [] if latents["both"].isfinite().all() else ["not finite"]
    return found + ([] if latents["other order"].equal(latents["both"]) else ["order"])


def test_both_act_in_any_order_beside_every_neighbour(server):
    known = server.call("/object_info")
    near = {name: one for name, one in NEIGHBOURS.items() if one.needs in ("", *known)}
    assert {name: wrong for name, one in near.items() if (wrong := offences(server, one))} == {}

"""Nodes from before March 2024 through the API: each gives, bit for bit, what today's nodes give."""

from typing import Any

import pytest

from harness.wiring import Wiring


@pytest.mark.parametrize(
    ("kind", "scaling"), [("original", "V only"), ("linear", "K+V"), ("channel penalty", "K+mean(V) w/ C penalty")]
)
def test_the_first_apply_nodes_weight_types_are_scalings(server, kind, scaling):
    w = Wiring(server)
    encoded = w.add("IPAdapterEncoder")[0]
    numbers = {"weight": 0.6, "weight_type": kind}
    expected = w.add("IPAdapterAdvanced", weight=0.6, embeds_scaling=scaling)[0]
    latents = w.latents(
        picture=w.add("IPAdapterApply", **numbers)[0],
        encoded=w.add("IPAdapterApplyEncoded", embeds=encoded, **numbers)[0],
        expected=expected,
    )
    assert latents["picture"].equal(latents["expected"]) and latents["encoded"].equal(latents["expected"])
    assert not latents["expected"].equal(latents["bare"])


def test_the_first_apply_node_knows_the_newer_weight_types_and_unfolds_batches(server):
    w = Wiring(server, batch=2)
    w.same(
        w.add("IPAdapterApply", weight_type="style transfer")[0],
        w.add("IPAdapterAdvanced", weight_type="style transfer")[0],
    )
    w = Wiring(server, batch=2)
    pictures = w.graph.add("ImageBatch", image1=w.image(1), image2=w.image(2))[0]
    w.same(
        w.add("IPAdapterApply", image=pictures, weight_type="original", unfold_batch=True)[0],
        w.add("IPAdapterBatch", image=pictures)[0],
    )


def test_noise_makes_the_first_apply_node_push_away_from_a_noised_copy(server):
    w = Wiring(server)
    latents = w.latents(
        some=w.add("IPAdapterApply", noise=0.3)[0], again=w.add("IPAdapterApply", noise=0.3)[0],
        none=w.add("IPAdapterApply")[0],
    )  # fmt: skip
    assert latents["some"].equal(latents["again"]) and not latents["some"].equal(latents["none"])


def test_masked_tiles_are_a_chain_of_crops_and_masks(server):
    w = Wiring(server)
    picture = w.image(1, width=448, height=224, kind="noise")  # two tiles of 224, so that nothing is resized
    one = w.add("IPAdapterTilesMasked", image=picture, weight=0.7, weight_type="original")

    def step(x: int) -> dict[str, Any]:
        tile = w.graph.add("ImageCrop", image=picture, width=224, height=224, x=x, y=0)
        black, white = (w.graph.add("SolidMask", value=v, width=s, height=224) for v, s in ((0.0, 448), (1.0, 224)))
        place = {"x": x, "y": 0, "operation": "add"}
        mask = w.graph.add("MaskComposite", destination=black[0], source=white[0], **place)
        return {"image": tile[0], "weight": 0.7, "attn_mask": mask[0]}

    w.same(one[0], w.chain(step(0), step(224)))

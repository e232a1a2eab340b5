"""Programs and packs that drive these nodes by name: what they send, what they read, and what they hand over."""

import json
from typing import Any

import pytest

from harness.client import Client
from harness.graph import Graph
from harness.sampling import sample
from harness.wiring import Wiring
from pack.nodes.inputs import SIMPLE_WEIGHT_TYPES
from pack.weight_schedules.layers import WEIGHT_TYPES

PLUS = "ip-adapter-plus_sd15.safetensors"
ALL_KEYWORDS: dict[str, Any] = {  # as packs hand them to any apply node, with what they leave at "off"
    "start_at": 0.0, "end_at": 1.0, "weight": 0.8, "weight_style": 1.0, "weight_composition": 1.0,
    "expand_style": False, "weight_type": "ease in", "combine_embeds": "concat", "weight_faceidv2": None,
    "image_style": None, "image_composition": None, "image_negative": None, "attn_mask": None, "insightface": None,
    "embeds_scaling": "K+V", "layer_weights": None, "ipadapter_params": None, "encode_batch_size": 0,
    "style_boost": None, "composition_boost": None, "enhance_tiles": 1, "enhance_ratio": 1.0, "weight_kolors": 1.0,
}  # fmt: skip


def call(w: Wiring, node_id: str, method: str = "apply_ipadapter", /, *, links: Any, **keywords: Any) -> Any:
    """A model as a pack makes it that creates our class and calls it."""
    keywords = {name: value for name, value in keywords.items() if name not in links}
    return w.graph.add("TestCall", node_id=node_id, method=method, call=json.dumps(keywords), **links)


def linked(w: Wiring, **more: Any) -> dict[str, Any]:
    sockets = {"model": w.model, "ipadapter": w.ipadapter, "clip_vision": w.clip_vision}
    return sockets | ({"image": w.image()} if "image_style" not in more and "pos_embed" not in more else {}) | more


# krita-ai-diffusion: encodes every picture with its own weight, joins them, applies the embeds


def krita(w: Wiring, pictures: int, mask: Any = None, **numbers: Any) -> Any:
    encoded = [w.add("IPAdapterEncoder", image=w.image(n), weight=1.0)[0] for n in range(1, pictures + 1)]
    if pictures > 1:
        embeds = {f"embed{n}": link for n, link in enumerate(encoded, 1)}
        encoded = [w.add("IPAdapterCombineEmbeds", method="concat", **embeds)[0]]
    numbers |= {"start_at": 0.0, "end_at": 0.8, "embeds_scaling": "V only", "attn_mask": mask}
    return w.add("IPAdapterEmbeds", pos_embed=encoded[0], **numbers)[0]


@pytest.mark.parametrize("weight_type", ["linear", "style transfer", "composition"])
def test_krita_s_encoded_and_combined_pictures_are_a_batch_of_pictures(server, weight_type):
    w = Wiring(server)
    mask, numbers = w.left_half(), {"weight": 0.6, "weight_type": weight_type}
    batch = w.graph.add("ImageBatch", image1=w.image(1), image2=w.image(2))[0]
    three = w.graph.add("ImageBatch", image1=batch, image2=w.image(3))[0]
    expected = w.add("IPAdapterAdvanced", image=three, end_at=0.8, attn_mask=mask, **numbers)[0]
    found = krita(w, 3, mask, **numbers)
    latents = w.latents(2, found=found, expected=expected)
    # Encoded one by one, pictures differ in the last bits, which sigma 14 and a guidance of 7 amplify.
    assert (latents["found"] - latents["expected"]).abs().max() < 1e-2
    assert (latents["found"] - latents["bare"]).abs().max() > 5e-2


def test_krita_s_single_picture_is_the_picture_bit_for_bit(server):
    w = Wiring(server, file=PLUS)
    w.same(krita(w, 1, weight=0.6), w.add("IPAdapterAdvanced", weight=0.6, end_at=0.8)[0], steps=2)


def test_krita_s_regions_chain_one_node_each(server):
    w = Wiring(server)
    alone = krita(w, 1, w.left_half(), weight=0.6)
    w.model, model = alone, w.model
    second = krita(w, 1, weight=0.3, weight_type="style transfer")
    w.model = model
    latents = w.latents(alone=alone, chained=second, again=alone)
    assert not latents["chained"].equal(latents["alone"]) and latents["again"].equal(latents["alone"])


def test_the_nodes_that_programs_look_for_are_there(server):
    known = server.call("/object_info")
    wanted = "IPAdapter IPAdapterModelLoader IPAdapterInsightFaceLoader IPAdapterFaceID IPAdapterUnifiedLoaderFaceID"
    assert set(wanted.split()) <= set(known)
    loader = known["IPAdapterInsightFaceLoader"]["input"]["required"]
    assert loader["provider"][0][0] == "CPU" and loader["model_name"][0][:2] == ["buffalo_l", "antelopev2"]


# SwarmUI: reads lists off /object_info, and sends the simple node behind a unified loader


def listed(server: Client, node_id: str, name: str) -> list[str]:
    return server.call(f"/object_info/{node_id}")[node_id]["input"]["required"][name][0]


def test_lists_stand_where_swarmui_reads_them(server):
    assert listed(server, "IPAdapter", "weight_type") == list(SIMPLE_WEIGHT_TYPES)
    assert listed(server, "IPAdapterAdvanced", "weight_type") == WEIGHT_TYPES
    assert listed(server, "IPAdapterUnifiedLoader", "preset")[1] == "STANDARD (medium strength)"
    assert "FACEID PLUS V2" in listed(server, "IPAdapterUnifiedLoaderFaceID", "preset")
    assert "ip-adapter_sd15.safetensors" in listed(server, "IPAdapterModelLoader", "ipadapter_file")


# Packs that create the classes


@pytest.mark.parametrize("node_id", ["IPAdapterAdvanced", "IPAdapterMS", "IPAdapterFaceID", "IPAdapterBatch"])
def test_a_call_with_every_keyword_there_ever_was_gives_what_the_node_gives(server, node_id):
    w = Wiring(server)
    model = call(w, node_id, links=linked(w), **ALL_KEYWORDS)
    w.same(model[0], w.add("IPAdapterAdvanced", weight=0.8, weight_type="ease in", embeds_scaling="K+V")[0])


def test_keywords_that_are_on_act_on_any_node(server):
    w = Wiring(server)
    layers = call(w, "IPAdapterMS", links=linked(w), **ALL_KEYWORDS | {"layer_weights": "3:0.5"})
    w.same(layers[0], w.add("IPAdapterMS", weight=0.8, layer_weights="3:0.5", embeds_scaling="K+V")[0])
    w = Wiring(server)
    precise = call(w, "IPAdapterPreciseStyleTransfer", links=linked(w), **ALL_KEYWORDS | {"style_boost": 2.0})
    w.same(precise[0], w.add("IPAdapterPreciseStyleTransfer", weight=0.8, style_boost=2.0, embeds_scaling="K+V")[0])


def test_a_call_with_style_and_composition_pictures(server):
    w = Wiring(server)
    links = linked(w, image_style=w.image(1), image_composition=w.image(2))
    numbers = {"weight_style": 0.7, "weight_composition": 0.9, "expand_style": True}
    model = call(w, "IPAdapterStyleComposition", links=links, **ALL_KEYWORDS | numbers)
    graph = w.add(
        "IPAdapterStyleComposition", image_style=w.image(1), image_composition=w.image(2), embeds_scaling="K+V",
        **numbers,
    )  # fmt: skip
    w.same(model[0], graph[0])


def test_values_without_a_keyword_are_in_the_order_of_the_inputs(server):
    w = Wiring(server)
    foreign = w.graph.add("TestForeignAdapter", form="pipeline", file=PLUS, clip_vision=w.clip_vision)
    links = {"model": w.model, "ipadapter": foreign[0], "image": w.image()}
    values = ["model", "ipadapter", "image", 0.7, 0.0, 0.5, "prompt is more important"]
    model = w.graph.add("TestCall", node_id="IPAdapter", method="apply_ipadapter", call=json.dumps(values), **links)
    w.ipadapter = w.add("IPAdapterModelLoader", ipadapter_file=PLUS)[0]
    w.same(model[0], w.add("IPAdapterAdvanced", weight=0.7, end_at=0.5, weight_type="ease out")[0], steps=2)


def test_a_call_with_params(server):
    w = Wiring(server)
    region = w.add("IPAdapterRegionalConditioning", image_weight=0.7, mask=w.left_half(), weight_type="ease out")
    links = linked(w, ipadapter_params=region[0])
    model = call(w, "IPAdapterFromParams", links=links, **ALL_KEYWORDS | {"combine_embeds": "average"})
    expected = w.add(
        "IPAdapterAdvanced", weight=0.7, weight_type="ease out", attn_mask=w.left_half(), embeds_scaling="K+V"
    )
    w.same(model[0], expected[0])


def test_embeds_tiles_and_encoders_are_called_too(server):
    w = Wiring(server)
    encoded = call(
        w, "IPAdapterEncoder", "encode", weight=0.5,
        links={"ipadapter": w.ipadapter, "image": w.image(), "clip_vision": w.clip_vision},
    )  # fmt: skip
    numbers = {"weight": 0.9, "weight_type": "linear", "start_at": 0.0, "end_at": 1.0, "embeds_scaling": "V only"}
    model = call(w, "IPAdapterEmbeds", links=linked(w, pos_embed=encoded[0]), neg_embed=None, **numbers)
    expected = w.add("IPAdapterEmbeds", pos_embed=w.add("IPAdapterEncoder", weight=0.5)[0], weight=0.9)
    w.same(model[0], expected[0])
    w = Wiring(server)
    tiled = call(
        w, "IPAdapterTiled", "apply_tiled", links=linked(w), sharpening=0.1, combine_embeds="concat",
        image_negative=None, **numbers,
    )  # fmt: skip
    w.same(tiled[0], w.add("IPAdapterTiled", weight=0.9, sharpening=0.1)[0])


def test_a_loader_is_called_by_keyword(server):
    w = Wiring(server)
    loaded = call(w, "IPAdapterModelLoader", "load_ipadapter_model", links={}, ipadapter_file=PLUS)
    one = w.add("IPAdapterAdvanced", ipadapter=loaded[0])[0]
    w.ipadapter = w.add("IPAdapterModelLoader", ipadapter_file=PLUS)[0]
    w.same(one, w.add("IPAdapterAdvanced")[0])


def test_a_keyword_that_never_was_is_named(server):
    w = Wiring(server)
    with pytest.raises(RuntimeError, match="has no input wieght"):
        w.latents(one=call(w, "IPAdapterAdvanced", links=linked(w), wieght=0.8)[0])


def test_weight_types_are_read_off_a_class(server):
    w = Wiring(server)
    shown = w.graph.add("TestListedTypes", node_id="IPAdapterAdvanced")
    assert server.run(w.graph).outputs[shown.id]["listed"] == WEIGHT_TYPES


@pytest.mark.parametrize("weight_type", ["linear", "composition precise"])
def test_a_list_that_another_pack_copied_into_its_node_is_accepted_with_its_values(server, weight_type):
    g = Graph()
    shown = g.add("TestCopiedList", weight_type=weight_type, combine_embeds="norm average")
    assert server.run(g).outputs[shown.id]["chosen"] == [weight_type, "norm average"]


def test_a_value_that_is_not_in_a_copied_list_is_refused(server):
    g = Graph()
    g.add("TestCopiedList", weight_type="sideways", combine_embeds="concat")
    with pytest.raises(RuntimeError, match="weight_type: 'sideways' not in"):
        server.run(g)


def test_a_combo_s_output_is_connected_to_our_lists(server):
    w = Wiring(server)
    named = w.graph.add("TestName", name="ease in")
    linked_type = w.add("IPAdapterAdvanced", weight_type=named[0])[0]
    w.same(linked_type, w.add("IPAdapterAdvanced", weight_type="ease in")[0])


# Adapters that other packs loaded


@pytest.mark.parametrize("form", ["state dict", "pipeline", "pipeline without faces"])
@pytest.mark.parametrize("node_id", ["IPAdapterAdvanced", "IPAdapter"])
def test_an_adapter_of_another_loader_is_used_and_left_as_it_is(server, form, node_id):
    if (form, node_id) == ("state dict", "IPAdapter"):
        node_id = "IPAdapterApply"  # the simple node has no socket for the encoder that a bare adapter lacks
    w = Wiring(server, file=PLUS)
    foreign = w.graph.add("TestForeignAdapter", form=form, file=PLUS, clip_vision=w.clip_vision)
    inputs = {"weight_type": "original"} if node_id == "IPAdapterApply" else {}
    model = w.add(node_id, ipadapter=foreign[0], weight=0.7, **inputs)[0]
    unchanged = w.graph.add("TestUnchanged", evidence=foreign[1], after=sample(w.graph, model)[0])
    w.same(model, w.add("IPAdapterAdvanced", weight=0.7)[0])
    assert w.result.outputs[unchanged.id]["unchanged"] == [True]

"""Every apply node and unified loader through the API: each gives, bit for bit, what another way to the same picture
gives.
"""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import synthetic
from harness.assets import SD15
from harness.client import Client
from harness.process import PACK
from harness.sampling import sample
from harness.wiring import Wiring
from test_nodes_pack.standins import tiny_clip_vision

PLUS = "ip-adapter-plus_sd15.safetensors"
STYLE_LAYERS = [n for n in range(16) if n not in range(4, 9)]  # of SD1.5
BATCH_NODES = (
    "IPAdapterBatch", "IPAdapterTiledBatch", "IPAdapterClipVisionEnhancerBatch", "IPAdapterPreciseStyleTransferBatch",
    "IPAdapterPreciseCompositionBatch", "IPAdapterStyleCompositionBatch",
)  # fmt: skip


@pytest.fixture(scope="module")
def loaders(server: Client) -> Client:
    """The server with files that the unified loaders' presets stand for, small."""
    models = server.output.parent / "models"
    encoder = tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224)
    save_file(encoder.get_sd(), models / "clip_vision" / "small.safetensors")
    composition = synthetic.adapter("composition", seed=9, dtype=torch.float16, **SD15)
    synthetic.save(composition, models / "ipadapter" / "ip_plus_composition_sd15.safetensors")
    return server


def layer_text(weights: dict[int, float]) -> str:
    return ",".join(f"{layer}:{weight}" for layer, weight in weights.items())


# Simple and advanced


@pytest.mark.parametrize(
    ("simple", "advanced"),
    [("standard", "linear"), ("prompt is more important", "ease out"), ("style transfer", "style transfer")],
)
def test_the_simple_node_behind_a_unified_loader_is_the_advanced_one(loaders, simple, advanced):
    w = Wiring(loaders)
    loader = w.add("IPAdapterUnifiedLoader", preset="STANDARD (medium strength)")
    numbers = {"weight": 0.8, "start_at": 0.0, "end_at": 0.5}
    one = w.add("IPAdapter", model=loader[0], ipadapter=loader[1], weight_type=simple, **numbers)
    w.same(one[0], w.add("IPAdapterAdvanced", weight_type=advanced, **numbers)[0], steps=2)


def test_the_simple_node_without_a_unified_loader_says_what_it_needs(server):
    w = Wiring(server)
    with pytest.raises(RuntimeError, match="IPAdapter: .*connect a Load CLIP Vision.*or use an IPAdapter Unified Load"):
        w.latents(one=w.add("IPAdapter")[0])


def test_the_community_loader_brings_what_the_single_loaders_bring(loaders):
    w = Wiring(loaders, file="ip_plus_composition_sd15.safetensors")
    loader = w.add("IPAdapterUnifiedLoaderCommunity", preset="Composition")
    w.same(w.add("IPAdapter", ipadapter=loader[1])[0], w.add("IPAdapterAdvanced")[0])


def test_layer_weights_of_one_are_linear_and_factors_multiply_the_weight(server):
    w = Wiring(server)
    ones = w.add("IPAdapterMS", weight=0.8, layer_weights=layer_text(dict.fromkeys(range(16), 1.0)))
    halves = w.add("IPAdapterMS", weight=0.8, layer_weights=layer_text(dict.fromkeys(range(16), 0.5)))
    empty = w.add("IPAdapterMS", weight=0.8, weight_type="ease in", layer_weights="")
    of = {name: w.add("IPAdapterAdvanced", weight=0.8, weight_type=name)[0] for name in ("linear", "ease in")}
    latents = w.latents(
        ones=ones[0], halves=halves[0], empty=empty[0], linear=of["linear"], eased=of["ease in"],
        half=w.add("IPAdapterAdvanced", weight=0.4)[0],
    )  # fmt: skip
    for one, other in (("ones", "linear"), ("halves", "half"), ("empty", "eased")):
        assert latents[one].equal(latents[other]) and not latents[one].equal(latents["bare"])


@pytest.mark.parametrize(
    ("weight_type", "layers"),
    [("style transfer", dict.fromkeys(STYLE_LAYERS, 1.0)), ("composition", {4: 0.25, 5: 1.0})],
)
def test_style_transfer_reaches_layers_0_to_3_and_9_to_15_and_composition_4_and_5(server, weight_type, layers):
    w = Wiring(server)
    one = w.add("IPAdapterAdvanced", weight=0.6, weight_type=weight_type)
    w.same(one[0], w.add("IPAdapterMS", weight=0.6, layer_weights=layer_text(layers))[0])


def test_composition_leaves_everything_before_its_layers_untouched(server):
    def attention(model: Any, w: Wiring) -> dict[str, torch.Tensor]:
        probe = w.graph.add("TestProbe", model=model)
        sampled = sample(w.graph, probe[0], steps=1)
        w.graph.save("attention", w.graph.add("TestReadProbe", probe=probe[1], after=sampled[0])[0])
        return server.run(w.graph).tensors("attention")

    w = Wiring(server)
    bare = attention(w.model, w)
    w = Wiring(server)
    composed = attention(w.add("IPAdapterAdvanced", weight_type="composition")[0], w)
    blocks = ["input1_0.0", "input2_0.0", "input4_0.0", "input5_0.0", "input7_0.0", "input8_0.0"]
    assert [composed[block].equal(bare[block]) for block in blocks] == [True] * 4 + [False] * 2


# Embeds


@pytest.mark.parametrize("file", ["", PLUS])
@pytest.mark.parametrize("negative", [False, True])
def test_encoding_first_and_applying_then_is_applying_at_once(server, file, negative):
    w = Wiring(server, file=file)
    encoded = w.add("IPAdapterEncoder")
    given = {"neg_embed": encoded[1]} if negative else {}
    one = w.add("IPAdapterEmbeds", pos_embed=encoded[0], weight=0.7, weight_type="weak output", **given)
    w.same(one[0], w.add("IPAdapterAdvanced", weight=0.7, weight_type="weak output")[0])


def test_combined_embeds_are_the_pictures_combined_by_the_apply_node(server):
    w = Wiring(server)
    both = w.graph.add("ImageBatch", image1=w.image(1), image2=w.image(2))
    combined = w.add(
        "IPAdapterCombineEmbeds", method="norm average", embed1=w.add("IPAdapterEncoder", image=both[0])[0]
    )
    one = w.add("IPAdapterEmbeds", pos_embed=combined[0])
    w.same(one[0], w.add("IPAdapterAdvanced", image=both[0], combine_embeds="norm average")[0])


def test_one_encoded_picture_for_a_batch_is_embeds(server):
    w = Wiring(server)
    encoded = w.add("IPAdapterEncoder")[0]
    one = w.add("IPAdapterEmbedsBatch", pos_embed=encoded)
    w.same(one[0], w.add("IPAdapterEmbeds", pos_embed=encoded)[0])


# Batches


@pytest.mark.parametrize("node", BATCH_NODES)
def test_a_batch_node_with_one_picture_for_one_latent_is_its_twin(server, node):
    w = Wiring(server)
    numbers = {"enhance_tiles": 1} if "Enhancer" in node else {}
    twin = "IPAdapterAdvanced" if node == "IPAdapterBatch" else node.removesuffix("Batch")
    w.same(w.add(node, **numbers)[0], w.add(twin, **numbers)[0])


@pytest.mark.parametrize("node", [*BATCH_NODES, "IPAdapterEmbedsBatch"])
def test_the_second_picture_of_a_batch_changes_the_second_latent_alone(server, node):
    w = Wiring(server, batch=2)

    def with_second(seed: int) -> Any:
        pictures = w.graph.add("ImageBatch", image1=w.image(1), image2=w.image(seed))[0]
        name = "image_style" if "StyleComposition" in node else "image"
        if node == "IPAdapterEmbedsBatch":
            return w.add(node, pos_embed=w.add("IPAdapterEncoder", image=pictures)[0])[0]
        return w.add(node, **{name: pictures})[0]

    latents = w.latents(one=with_second(2), other=with_second(3))
    assert latents["one"][0].equal(latents["other"][0]) and not latents["one"][1].equal(latents["other"][1])


# Style and composition


@pytest.mark.parametrize("family", ["sd15", "sdxl shallow"])
@pytest.mark.parametrize(("expand", "style"), [(False, "style transfer"), (True, "strong style transfer")])
def test_style_and_composition_is_the_one_after_the_other(server, family, expand, style):
    w = Wiring(server, family)
    pictures = {"image_style": w.image(1), "image_composition": w.image(2)}
    one = w.add("IPAdapterStyleComposition", **pictures, weight_style=0.6, weight_composition=0.8, expand_style=expand)
    layers = {"sd15": {4: 1.0 if expand else 0.25, 5: 1.0}, "sdxl shallow": {3: 1.0}}[family]
    styled = w.add("IPAdapterAdvanced", image=w.image(1), weight=0.6, weight_type=style)
    both = w.add("IPAdapterMS", model=styled[0], image=w.image(2), weight=0.8, layer_weights=layer_text(layers))
    w.same(one[0], both[0])


@pytest.mark.parametrize("boost", [2.0, -0.5])
def test_a_precise_style_pushes_the_composition_away_with_the_boost(server, boost):
    w = Wiring(server)
    layers = layer_text(dict.fromkeys(STYLE_LAYERS, 1.0) | {4: 0.25 * boost, 5: boost})
    one = w.add("IPAdapterPreciseStyleTransfer", weight=1.0, style_boost=boost)
    w.same(one[0], w.add("IPAdapterMS", weight_type="style transfer precise", layer_weights=layers)[0])


def test_a_precise_style_with_a_boost_of_its_weight_is_the_weight_type(server):
    w = Wiring(server)
    one = w.add("IPAdapterPreciseStyleTransfer", weight=0.75, style_boost=0.75)
    w.same(one[0], w.add("IPAdapterAdvanced", weight=0.75, weight_type="style transfer precise")[0])


def test_a_precise_composition_without_boost_is_composition_and_with_it_pushes_the_style_away(server):
    w = Wiring(server)
    plain = w.add("IPAdapterPreciseComposition", weight=0.6)
    w.same(plain[0], w.add("IPAdapterAdvanced", weight=0.6, weight_type="composition")[0])
    w = Wiring(server)
    boost, rest = 0.25, 0.1 * 0.25
    layers = dict.fromkeys(STYLE_LAYERS, boost) | {4: 0.25, 5: 1.0} | dict.fromkeys((6, 7, 8), rest)
    pushed = w.add("IPAdapterPreciseComposition", weight=1.0, composition_boost=boost)
    w.same(pushed[0], w.add("IPAdapterMS", weight_type="composition precise", layer_weights=layer_text(layers))[0])


# Regions and tiles


def test_a_region_is_a_mask_and_two_regions_are_a_chain(server):
    w = Wiring(server)
    numbers = {"weight_type": "ease in", "start_at": 0.0, "end_at": 0.6}
    mask = w.left_half()
    one = w.add("IPAdapterRegionalConditioning", image=w.image(1), image_weight=0.7, mask=mask, **numbers)
    two = w.add("IPAdapterRegionalConditioning", image=w.image(2), image_weight=0.4)
    both = w.add("IPAdapterCombineParams", params_1=one[0], params_2=two[0])
    single, double = (w.add("IPAdapterFromParams", ipadapter_params=params[0])[0] for params in (one, both))
    first = {"image": w.image(1), "weight": 0.7, "attn_mask": mask, **numbers}
    second = {"image": w.image(2), "weight": 0.4}
    latents = w.latents(2, single=single, double=double, first=w.chain(first), chain=w.chain(first, second))
    assert latents["single"].equal(latents["first"]) and latents["double"].equal(latents["chain"])
    assert not latents["double"].equal(latents["single"]) and not latents["single"].equal(latents["bare"])


@pytest.mark.parametrize(("size", "tiles"), [((300, 280), 4), ((600, 250), 3)])
def test_a_tiled_reference_is_a_chain_of_its_tiles_and_masks(server, size, tiles):
    w = Wiring(server)
    picture = w.image(1, width=size[0], height=size[1], kind="noise")
    tiled = w.add("IPAdapterTiled", image=picture, weight=0.5, sharpening=0.2)
    masks = w.graph.add("MaskToImage", mask=tiled[2])

    def step(number: int) -> dict[str, Any]:
        tile, mask = (
            w.graph.add("ImageFromBatch", image=images, batch_index=number, length=1) for images in (tiled[1], masks[0])
        )
        return {
            "image": tile[0], "weight": 0.5,
            "attn_mask": w.graph.add("ImageToMask", image=mask[0], channel="red")[0],
        }  # fmt: skip

    w.graph.save("tiles", tiled[1])
    w.same(tiled[0], w.chain(*map(step, range(tiles))))
    assert w.result.tensor("tiles").shape == (tiles, 256, 256, 3)


@pytest.mark.parametrize("node", ["IPAdapterClipVisionEnhancer", "IPAdapterClipVisionEnhancerBatch"])
def test_an_enhancer_of_one_tile_enhances_nothing(server, node):
    w = Wiring(server)
    w.same(w.add(node, enhance_tiles=1, enhance_ratio=0.5)[0], w.add("IPAdapterAdvanced")[0])


def test_an_enhanced_picture_alone_acts_in_a_frame_as_if_it_were_given_twice(server):
    """Without mixture, as for all frames together, the whole would act in frame 0 and the tiles in all others."""
    w, node = Wiring(server), "IPAdapterClipVisionEnhancerBatch"
    settings = {"enhance_tiles": 3, "enhance_ratio": 0.5}
    twice = w.graph.add("RepeatImageBatch", image=w.image(1), amount=2)[0]
    alone, again = (w.add(node, image=image, **settings)[0] for image in (w.image(1), twice))
    latents = w.latents(alone=alone, again=again)
    acts, differs = ((latents["alone"] - latents[name]).norm() for name in ("bare", "again"))
    assert differs < 0.01 * acts  # keys and values of two pictures are products of another size


# All of them


def test_no_node_is_left_out(server):
    """Every node of the pack, and every id that workflows carry, stands in a graph of some test in the server."""
    tests = Path(__file__).parents[1]
    interfaces = [tests / "reference" / f"{name}_interface.json" for name in ("node", "legacy", "instantid")]
    carried = {node_id for file in interfaces for node_id in json.loads(file.read_text("utf-8"))}
    known = server.call("/object_info").items()
    ours = {node_id for node_id, info in known if info["python_module"] == f"custom_nodes.{PACK}"}
    written: set[Any] = set()
    folders = ("server", "faces", "identity", "demo", "openclip", "model_doctor")
    for file in (file for folder in folders for file in tests.glob(f"{folder}/*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        written |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert carried <= ours
    assert ours - written == set()


# Without an adapter


def test_a_reference_that_rides_along_is_looked_at_in_the_layers_of_its_schedule(server):
    w = Wiring(server)
    pixels = w.graph.add("ImageScale", image=w.image(), upscale_method="area", width=64, height=64, crop="disabled")
    encoded = w.graph.add("VAEEncode", pixels=pixels[0], vae=w.graph.add("TestVae", family="sd15")[0])
    constant = {"layers": "linear", "steps": "constant", "low": 0.0, "high": 1.0, "start": 0.0, "end": 1.0}
    late = w.graph.add("IPAdapterWeightSchedule", **constant, layer_text="10-15:1")
    one = w.add("IPAdapterReferenceAttention", latent=encoded[0])
    w.same(one[0], w.add("IPAdapterReferenceAttention", latent=encoded[0], layers="all", schedule=late[0])[0], steps=2)

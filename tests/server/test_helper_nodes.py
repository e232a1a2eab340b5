"""The helper nodes in a running server: each one's numbers, as a graph sees them."""

import json
from typing import Any

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph, Node
from pack.encoders.noise import noisy
from pack.encoders.pictures import prepare_for_encoder


def image(g: Graph, seed: int = 1, **more: Any) -> Node:
    return g.add("TestImage", seed=seed, **({"width": 40, "height": 30} | more))


def picture(seed: int = 1, height: int = 30, width: int = 40, batch: int = 1) -> torch.Tensor:
    """What TestImage gives with kind noise."""
    return torch.rand((batch, height, width, 3), generator=torch.Generator().manual_seed(seed))


def text(result: Any, node: Node) -> Any:
    """What a PreviewAny node shows, read as JSON where it is."""
    shown = result.outputs[node.id]["text"][0]
    try:
        return json.loads(shown)
    except json.JSONDecodeError:
        return shown


def encoded(g: Graph, seed: int = 1, **more: Any) -> Node:
    adapter = g.add("IPAdapterModelLoader", ipadapter_file="ip-adapter_sd15.safetensors")
    vision = g.add("TestClipVision", seed=3)
    return g.add(
        "IPAdapterEncoder",
        ipadapter=adapter[0],
        clip_vision=vision[0],
        **({"image": image(g, seed)[0], "weight": 1.0} | more),
    )


def test_a_solid_mask_and_a_composite_follow_a_latents_size(server):
    g = Graph()
    latent = g.add("EmptyLatentImage", width=128, height=64, batch_size=1)
    size = {"width": 8, "height": 8, "canvas": latent[0]}
    whole = g.add("IPAdapterSolidMask", value=0.0, **size)
    half = g.add("IPAdapterSolidMask", value=1.0, **size, width_fraction=0.5)
    right = g.add(
        "IPAdapterMaskComposite", destination=whole[0], source=half[0], x=0, y=0, operation="add", x_fraction=0.5
    )
    g.save("mask", right[0])
    expected = torch.zeros(1, 64, 128)
    expected[:, :, 64:] = 1
    assert server.run(g).tensor("mask").equal(expected)


def test_a_solid_mask_takes_images_and_pixels_too(server):
    g = Graph()
    by_image = g.add("IPAdapterSolidMask", value=0.25, width=8, height=8, canvas=image(g)[0])
    by_mask = g.add("IPAdapterSolidMask", value=0.25, width=8, height=8, canvas=by_image[0], height_fraction=0.1)
    in_pixels = g.add("IPAdapterSolidMask", value=0.5, width=9, height=7)
    for name, node in (("image", by_image), ("mask", by_mask), ("pixels", in_pixels)):
        g.save(name, node[0])
    result = server.run(g)
    assert result.tensor("image").equal(torch.full((1, 30, 40), 0.25))
    assert result.tensor("mask").equal(torch.full((1, 3, 40), 0.25))
    assert result.tensor("pixels").equal(torch.full((1, 7, 9), 0.5))


def test_a_prepared_image_has_the_size_of_the_connected_encoder(server):
    g = Graph()
    options = {"interpolation": "BICUBIC", "crop_position": "left", "sharpening": 0.25}
    source = image(g, kind="noise")
    plain = g.add("PrepImageForClipVision", image=source[0], **options)
    wide = g.add("TestClipVision", seed=3, image_size=336)
    fitted = g.add("PrepImageForClipVision", image=source[0], clip_vision=wide[0], **options)
    g.save("plain", plain[0])
    g.save("fitted", fitted[0])
    result = server.run(g)
    assert result.tensor("plain").equal(prepare_for_encoder(picture(), 224, "BICUBIC", "left", 0.25))
    assert result.tensor("fitted").equal(prepare_for_encoder(picture(), 336, "BICUBIC", "left", 0.25))


@pytest.mark.parametrize("kind", ["fade", "dissolve", "gaussian", "shuffle"])
def test_noise_is_the_formulas(server, kind):
    g = Graph()
    from_image = g.add("IPAdapterNoise", type=kind, strength=0.5, blur=3, image_optional=image(g, kind="noise")[0])
    alone = g.add("IPAdapterNoise", type=kind, strength=1.0, blur=0)
    g.save("image", from_image[0])
    g.save("alone", alone[0])
    result = server.run(g)
    # Sums of convolutions may be split over threads differently in the server.
    torch.testing.assert_close(result.tensor("image"), noisy(kind, 0.5, 3, picture()), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.tensor("alone"), noisy(kind, 1.0), atol=1e-5, rtol=0)


def test_weights_and_images_go_by_frames(server):
    g = Graph()
    source = image(g, width=2, height=2, batch=3, kind="noise")
    weights = g.add(
        "IPAdapterWeights", weights="0.0, 1.0", timing="linear", frames=3, start_frame=0, end_frame=9999,
        add_starting_frames=1, add_ending_frames=0, method="shift batches", image=source[0],
    )  # fmt: skip
    shown = [g.add("PreviewAny", source=weights[output]) for output in range(3)]
    g.save("first", weights[3])
    g.save("second", weights[4])
    again = g.add("IPAdapterWeightsFromStrategy", weights_strategy=weights[5], image=source[0])
    shown.append(g.add("PreviewAny", source=again[0]))
    prompts = g.add("IPAdapterPromptScheduleFromWeightsStrategy", weights_strategy=weights[5], prompt="a\nb")
    shown.append(g.add("PreviewAny", source=prompts[0]))
    result = server.run(g)
    forwards, backwards, count, from_strategy, schedule = (text(result, node) for node in shown)
    assert forwards == [0, 0, 0.5, 1, 0, 0.5, 1] == from_strategy
    assert backwards == forwards[::-1] and count == 7
    assert result.tensor("first").equal(picture(1, 2, 2, 3)[[0, 0, 0, 0, 1, 1, 1]])
    assert result.tensor("second").equal(picture(1, 2, 2, 3)[[1, 1, 1, 1, 2, 2, 2]])
    assert schedule == '"0": "a",\n"1": "a",\n"4": "b",\n"7": "b",\n'


def test_weight_lists_are_joined_to_lists_and_numbers(server):
    g = Graph()
    typed = {"timing": "custom", "frames": 0, "start_frame": 0, "end_frame": 9999}
    typed |= {"add_starting_frames": 0, "add_ending_frames": 0, "method": "full batch"}
    listed = g.add("IPAdapterWeights", weights="0.1, 0.2", **typed)
    joined = g.add("IPAdapterCombineWeights", weights_1=listed[0], weights_2=0.75)
    shown = [g.add("PreviewAny", source=joined[output]) for output in (0, 1)]
    result = server.run(g)
    assert [text(result, node) for node in shown] == [[0.1, 0.2, 0.75], 3]


def test_impossible_frames_are_refused_with_a_reason(server):
    g = Graph()
    weights = g.add(
        "IPAdapterWeights", weights="0, 1", timing="linear", frames=4, start_frame=9, end_frame=9999,
        add_starting_frames=0, add_ending_frames=0, method="full batch",
    )  # fmt: skip
    g.add("PreviewAny", source=weights[0])
    with pytest.raises(PromptError, match="start_frame is 9"):
        server.run(g)


def test_embeds_are_weighted_masked_and_without_a_reference_zero(server):
    g = Graph()
    plain = encoded(g)
    doubled = encoded(g, weight=2.0)
    white = g.add("SolidMask", value=1.0, width=64, height=64)
    black = g.add("SolidMask", value=0.0, width=64, height=64)
    seen, unseen = encoded(g, mask=white[0]), encoded(g, mask=black[0])
    unseen_other = encoded(g, seed=2, mask=black[0])
    nodes = {"plain": plain, "doubled": doubled, "seen": seen, "unseen": unseen, "unseen_other": unseen_other}
    for name, node in nodes.items():
        g.save(name, node[0])
    g.save("nothing", plain[1])
    result = server.run(g)
    found = {name: result.tensor(name) for name in (*nodes, "nothing")}
    assert found["plain"].shape == (1, 32)
    assert found["doubled"].equal(found["plain"] * 2)
    assert found["nothing"].eq(0).all()
    # The mask's picture is at the encoder's size already and rounded to 8 bits once more.
    torch.testing.assert_close(found["seen"], found["plain"], atol=0.02, rtol=0)
    assert found["unseen"].equal(found["unseen_other"]) and not found["unseen"].equal(found["plain"])


def test_a_batch_of_masks_goes_with_a_batch_of_references(server):
    g = Graph()
    batch = image(g, batch=2)
    white, black = (g.add("SolidMask", value=value, width=8, height=8) for value in (1.0, 0.0))
    masks = g.add("BatchMasksNode", **{"masks.mask0": white[0], "masks.mask1": black[0]})
    g.save("both", encoded(g, image=batch[0], mask=masks[0])[0])
    g.save("black", encoded(g, image=batch[0], mask=black[0])[0])
    result = server.run(g)
    both, hidden = result.tensor("both"), result.tensor("black")
    assert not both[0].equal(hidden[0])
    # Rows of one batch and of another may differ in the last bits.
    torch.testing.assert_close(both[1], hidden[1], atol=1e-5, rtol=1e-5)


def test_embeds_are_combined_by_every_method(server):
    g = Graph()
    parts = {f"embed{number}": encoded(g, seed=number) for number in (1, 2, 3)}
    for name, part in parts.items():
        g.save(name, part[0])
    links = {name: part[0] for name, part in parts.items()}
    methods = ("concat", "add", "subtract", "average", "norm average", "max", "min")
    for method in methods:
        g.save(method, g.add("IPAdapterCombineEmbeds", method=method, **links)[0])
    result = server.run(g)
    x = torch.cat([result.tensor(name) for name in parts])
    expected = {
        "concat": x,
        "add": x.sum(0, keepdim=True),
        "subtract": x[:1] - x[1:].mean(0, keepdim=True),
        "average": x.mean(0, keepdim=True),
        "norm average": (x / x.square().sum(0, keepdim=True).sqrt()).mean(0, keepdim=True),
        "max": x.amax(0, keepdim=True),
        "min": x.amin(0, keepdim=True),
    }
    for method in methods:  # sums in another process may be ordered otherwise
        torch.testing.assert_close(result.tensor(method), expected[method], msg=method)


def test_norm_average_of_nothing_is_nothing_and_not_nan(server):
    g = Graph()
    nothing = encoded(g)
    joined = g.add("IPAdapterCombineEmbeds", method="norm average", embed1=nothing[1], embed2=nothing[1])
    g.save("joined", joined[0])
    assert server.run(g).tensor("joined").equal(torch.zeros(1, 32))


def test_the_older_batch_node_puts_two_side_by_side(server):
    g = Graph()
    parts = [encoded(g, seed) for seed in (1, 2)]
    batched = g.add("IPAdapterBatchEmbeds", embed1=parts[0][0], embed2=parts[1][0])
    for name, node in (("first", parts[0]), ("second", parts[1]), ("both", batched)):
        g.save(name, node[0])
    result = server.run(g)
    assert result.tensor("both").equal(torch.cat([result.tensor("first"), result.tensor("second")]))


def test_saved_embeds_get_a_new_number_each_time_and_are_found_again(server):
    saved = []
    for seed in (1, 2):
        g = Graph()
        kept = g.add("IPAdapterSaveEmbeds", embeds=encoded(g, seed)[0], filename_prefix="helpers/kept")
        saved.append(server.run(g).outputs[kept.id]["text"][0])
    assert saved == [
        "helpers/kept_00001_.ipadpt.safetensors [output]",
        "helpers/kept_00002_.ipadpt.safetensors [output]",
    ]
    listed = server.call("/object_info/IPAdapterLoadEmbeds")["IPAdapterLoadEmbeds"]["input"]["required"]["embeds"][0]
    assert set(saved) <= set(listed)
    g = Graph()
    for i, name in enumerate(saved):
        g.save(f"loaded{i}", g.add("IPAdapterLoadEmbeds", embeds=name)[0])
        g.save(f"made{i}", encoded(g, i + 1)[0])
    result = server.run(g)
    for i in range(2):
        assert result.tensor(f"loaded{i}").equal(result.tensor(f"made{i}"))


def test_embeds_saved_by_the_old_pack_still_load(server):
    kept = torch.rand(2, 32)
    torch.save(kept, server.base / "input" / "old.ipadpt")
    g = Graph()
    g.save("loaded", g.add("IPAdapterLoadEmbeds", embeds="old.ipadpt")[0])
    assert server.run(g).tensor("loaded").equal(kept)


@pytest.mark.parametrize("name", ["../comfyui.log", "../../etc/passwd", "/etc/passwd", "../input/old.ipadpt [output]"])
def test_embeds_are_only_read_from_their_folders(server, name):
    g = Graph()
    g.save("loaded", g.add("IPAdapterLoadEmbeds", embeds=name)[0])
    with pytest.raises(PromptError, match="leads out of"):
        server.run(g)


def test_embeds_are_only_written_below_the_output_folder(server):
    g = Graph()
    g.add("IPAdapterSaveEmbeds", embeds=encoded(g)[0], filename_prefix="../escaped")
    with pytest.raises(PromptError, match="leads out of"):
        server.run(g)
    assert not list(server.base.glob("escaped*"))


def test_a_region_carries_its_reference_and_limits_its_text(server):
    g = Graph()
    mask = g.add("SolidMask", value=1.0, width=16, height=16)
    words = g.add("TestConditioning", family="sd15", seed=1)
    numbers = {"image_weight": 0.7, "prompt_weight": 2.0, "weight_type": "style transfer (SDXL)"}
    numbers |= {"start_at": 0.1, "end_at": 0.9}
    region = g.add(
        "IPAdapterRegionalConditioning", image=image(g, kind="noise")[0], mask=mask[0], positive=words[0], **numbers
    )
    plain = g.add("IPAdapterRegionalConditioning", image=image(g, 2)[0], positive=words[0], **numbers)
    both = g.add("IPAdapterCombineParams", params_1=region[0], params_2=plain[0])
    shown = g.add("PreviewAny", source=both[0])
    g.save("region", region[1])
    g.save("plain", plain[1])
    g.save("params", both[0])
    result = server.run(g)
    limited = result.tensors("region")
    assert limited["0.1.mask"].equal(torch.ones(1, 16, 16))
    assert "0.1.mask" not in result.tensors("plain")
    params = result.tensors("params")
    assert params["image.0"].equal(picture()) and params["attn_mask.0"].equal(torch.ones(1, 16, 16))
    assert "attn_mask.1" not in params
    listed = str(text(result, shown))
    for part in (
        "'weight': [0.7, 0.7]",
        "'weight_type': ['style transfer', 'style transfer']",
        "'start_at': [0.1, 0.1]",
    ):
        assert part in listed

"""Contact sheets, layer sweeps, attention maps and regions in a running server."""

import pytest
import torch

from harness.client import PromptError
from harness.graph import Graph
from harness.sampling import apply, sample


def parts(g: Graph, family: str = "sd15"):
    model = g.add("TestModel", family=family, seed=1)[0]
    positive, negative = (g.add("TestConditioning", family=family, seed=seed)[0] for seed in (10, 20))
    latent = g.add("EmptyLatentImage", width=64, height=64, batch_size=1)[0]
    return model, {"positive": positive, "negative": negative, "latent_image": latent}


SAMPLING = {"seed": 5, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}


def test_a_sweep_makes_the_pictures_that_a_schedule_per_cell_would_make(server):
    g = Graph()
    model, links = parts(g)
    vae = g.add("TestVae", family="sd15")[0]
    adapted = apply(g, model, weight=0.8)[0]
    text = {"layers": "composition, 9", "factors": "1, 2", "others": 0.5, "cell": 64}
    sweep = g.add("IPAdapterLayerSweep", model=adapted, vae=vae, **links, **text, **SAMPLING)
    g.save("images", sweep[1])
    cell = g.add(
        "IPAdapterWeightSchedule", layers="linear", layer_text="all:0.5, 9:2", steps="constant", low=0.0, high=1.0,
        start=0.0, end=1.0,
    )  # fmt: skip
    alone = g.add("KSampler", model=apply(g, model, weight=0.8, schedule=cell[0])[0], **links, **SAMPLING)
    g.save("last", g.add("VAEDecode", samples=alone[0], vae=vae)[0])
    result = server.run(g)
    images = result.tensor("images")
    assert len(images) == 6, "layers 4, 5 and 9, with two factors each"
    assert torch.equal(images[5:], result.tensor("last"))
    assert len({image.numpy().tobytes() for image in images}) == 6
    grid = result.images(sweep.id)[0]
    assert grid.width > 2 * 64 and grid.height > 3 * 64


def test_a_sweep_without_a_reference_is_refused_before_sampling(server):
    g = Graph()
    model, links = parts(g)
    vae = g.add("TestVae", family="sd15")[0]
    text = {"layers": "all", "factors": "1", "others": 0.0, "cell": 64}
    g.add("IPAdapterLayerSweep", model=model, vae=vae, **links, **text, **SAMPLING)
    with pytest.raises(PromptError, match="No reference is applied to this model"):
        server.run(g)


def test_a_contact_sheet_takes_batches(server):
    g = Graph()
    images = g.add("TestImage", seed=1, batch=5, width=80, height=40)
    text = {"captions": "one\ntwo", "title": "Five", "columns": 0, "cell": 80}
    sheet = g.add("IPAdapterContactSheet", images=images[0], **text)
    g.save("sheet", sheet[0])
    result = server.run(g)
    width, height = result.images(sheet.id)[0].size
    assert 3 * 80 < width < 4 * 80 and height > 2 * 40
    assert result.tensor("sheet").shape == (1, height, width, 3)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_an_attention_map_is_where_the_reference_acts(server, family):
    g = Graph()
    model = g.add("TestModel", family=family, seed=1)[0]
    black = g.add("SolidMask", value=0.0, width=64, height=64)
    white = g.add("SolidMask", value=1.0, width=32, height=64)
    left = g.add("MaskComposite", destination=black[0], source=white[0], x=0, y=0, operation="add")
    file = "ip-adapter_sd15.safetensors" if family == "sd15" else "ip-adapter_sdxl_vit-h.safetensors"
    recorder = g.add("IPAdapterAttentionRecorder", model=apply(g, model, file=file, attn_mask=left[0])[0])
    sampled = sample(g, recorder[0], family)
    decoded = g.add("VAEDecode", samples=sampled[0], vae=g.add("TestVae", family=family)[0])
    settings = {"layers": "0", "start": 0.0, "end": 1.0, "contrast": "share", "opacity": 0.5}
    shown = g.add("IPAdapterAttentionMap", attention=recorder[1], image=decoded[0], **settings)
    for name, output in (("mask", shown[0]), ("overlay", shown[1]), ("picture", decoded[0])):
        g.save(name, output)
    g.save("unwatched", sample(g, apply(g, model, file=file, attn_mask=left[0])[0], family)[0])
    g.save("watched", sampled[0])
    result = server.run(g)
    mask, picture = result.tensor("mask"), result.tensor("picture")
    assert mask.shape == picture.shape[:3] == result.tensor("overlay").shape[:3]
    quarter = mask.shape[2] // 4
    assert mask[..., :quarter].min() > 0.01 and mask[..., -quarter:].max() == 0
    assert torch.equal(result.tensor("watched"), result.tensor("unwatched")), "looking on changes nothing"


def test_two_regions_two_references(server):
    g = Graph()
    model, _ = parts(g)
    latent = g.add("EmptyLatentImage", width=96, height=64, batch_size=1)
    settings = {"split": "columns", "columns": 2, "rows": 1, "softness": 0.0, "width": 8, "height": 8}
    split = g.add("IPAdapterSplitCanvas", canvas=latent[0], **settings)
    g.save("regions", split[0])
    first = apply(g, model, image=1, attn_mask=split[1])
    second = apply(g, first[0], image=2, attn_mask=g.add("IPAdapterPickRegion", regions=split[0], number=2)[0])
    g.save("split", sample(g, second[0], size=(96, 64))[0])
    third = apply(g, second[0], image=7, attn_mask=split[3])
    g.save("no third", sample(g, third[0], size=(96, 64))[0])
    g.save("left only", sample(g, first[0], size=(96, 64))[0])
    result = server.run(g)
    assert result.tensor("regions").shape == (2, 64, 96)
    assert torch.equal(result.tensor("split"), result.tensor("no third")), "a region that does not exist is black"
    assert not torch.equal(result.tensor("split"), result.tensor("left only"))
    assert result.images(split.id)[0].size == (512, 341)


def test_painted_regions_follow_the_canvas(server):
    g = Graph()
    halves = [g.add("EmptyImage", width=30, height=40, batch_size=1, color=colour) for colour in (0x2050E0, 0xE03020)]
    drawing = g.add("ImageStitch", image1=halves[0][0], image2=halves[1][0], direction="right",
                    match_image_size=True, spacing_width=0, spacing_color="white")  # fmt: skip
    latent = g.add("EmptyLatentImage", width=128, height=64, batch_size=1)
    settings = {"colours": "", "background": "#fff", "softness": 0.0, "width": 8, "height": 8}
    regions = g.add("IPAdapterRegionsByColour", drawing=drawing[0], canvas=latent[0], **settings)
    g.save("regions", regions[0])
    found = server.run(g).tensor("regions")
    assert found.shape == (2, 64, 128)
    assert found[0, :, :64].min() == 1 and found[1, :, 64:].min() == 1 and found.sum() == 64 * 128


def test_a_region_that_does_not_exist_cannot_be_picked(server):
    g = Graph()
    settings = {"split": "grid", "columns": 2, "rows": 2, "softness": 0.1, "width": 64, "height": 64}
    g.save("region", g.add("IPAdapterPickRegion", regions=g.add("IPAdapterSplitCanvas", **settings)[0], number=5)[0])
    with pytest.raises(PromptError, match="There is no region 5: there are 4"):
        server.run(g)

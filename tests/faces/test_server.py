"""From a photo to a sampled latent through the FaceID nodes, in a running ComfyUI server."""

import pytest
import torch

from faces import assets
from faces.graphs import VARIANTS, face_node, picture, run, sample
from harness.client import PromptError
from harness.graph import Graph
from pack.encoders.faces import face_features


@pytest.mark.parametrize("file", VARIANTS)
def test_a_face_in_a_photo_changes_what_is_sampled(faces_server, analysis, photo, bare, file):
    _, family, _, size, crop = VARIANTS[file]
    latent, faces = run(faces_server, file)
    assert latent.isfinite().all() and not torch.equal(latent, bare(family))
    expected = face_features(analysis, photo("astronaut"), size, crop=crop).crops
    assert torch.equal(faces, expected)
    assert not torch.equal(run(faces_server, file, photo="hopper")[0], latent)


@pytest.mark.parametrize("file", ["faceid_sd15.bin", "faceid-plusv2_sdxl.bin"])
def test_weight_zero_equals_no_adapter_bit_for_bit(faces_server, bare, file):
    assert torch.equal(run(faces_server, file, weight=0.0)[0], bare(VARIANTS[file][1]))


def test_faceid_plus_says_which_encoder_is_missing(faces_server):
    with pytest.raises(PromptError, match="IPAdapterFaceID: faceid-plus_sd15.bin needs a vision encoder.*64 wide"):
        run(faces_server, "faceid-plus_sd15.bin", clip_vision=None)


def test_a_faceid_adapter_without_detector_says_what_to_connect(faces_server):
    with pytest.raises(PromptError, match="needs a face detector: connect an IPAdapter InsightFace Loader"):
        run(faces_server, insightface=None)


def test_a_photo_without_a_face_is_named_and_the_next_run_works(faces_server):
    good = run(faces_server)[0]
    with pytest.raises(PromptError, match="No face found in image 1 of 1"):
        run(faces_server, photo="cat")
    assert torch.equal(run(faces_server)[0], good)


def test_plus_v2_s_clip_features_have_a_weight_of_their_own_and_plus_s_have_not(faces_server):
    for file, differs in (("faceid-plusv2_sd15.bin", True), ("faceid-plus_sd15.bin", False)):
        one, two = (run(faces_server, file, weight_faceidv2=weight)[0] for weight in (0.5, 1.5))
        assert torch.equal(one, two) != differs, file


def test_the_version_of_faceid_plus_can_be_said_where_the_file_does_not(faces_server):
    def latent(file, version):
        return run(faces_server, file, faceid_plus_version=version)[0]

    for file, own, other in (
        ("faceid-plus_sd15.bin", "version 1", "version 2"),
        ("faceid-plusv2_sd15.bin", "version 2", "version 1"),
    ):
        by_the_file = latent(file, "by the file")
        assert torch.equal(latent(file, own), by_the_file)
        assert not torch.equal(latent(file, other), by_the_file)


def test_the_face_can_be_chosen_in_a_group(faces_server, analysis, photo):
    results = {}
    for order, index in (("highest score", 0), ("largest", 0), ("left-most", 0), ("left-most", 5)):
        results[order, index] = run(faces_server, photo="six people", face=order, face_index=index)
    assert len({tuple(latent.flatten().tolist()) for latent, _ in results.values()}) == len(results)


def film(g):
    """Three frames, the middle one black."""
    scaled = {"upscale_method": "area", "width": 512, "height": 512, "crop": "disabled"}
    frames = [g.add("ImageScale", image=picture(g, name), **scaled)[0] for name in ("astronaut", "hopper")]
    black = g.add("EmptyImage", width=512, height=512, batch_size=1, color=0)[0]
    start = g.add("ImageBatch", image1=frames[0], image2=black)[0]
    return g.add("ImageBatch", image1=start, image2=frames[1])[0]


@pytest.mark.parametrize("node", ["IPAdapterFaceID", "IPAAdapterFaceIDBatch"])
def test_a_frame_without_a_face_stops_is_skipped_or_uses_the_neighbour_s(faces_server, node):
    def latent(missing):
        g = Graph()
        model = g.add("TestModel", family="sd15", seed=1)[0]
        applied = face_node(g, model, "faceid_sd15.bin", film(g), node, missing_face=missing)
        g.save("latent", sample(g, applied[0], batch=3)[0])
        g.save("faces", applied[1])
        return faces_server.run(g)

    with pytest.raises(PromptError, match="No face found in image 2 of 3"):
        latent("error")
    skipped, filled = latent("skip the image"), latent("use the neighbour's")
    assert len(skipped.tensor("faces")) == 2 and len(filled.tensor("faces")) == 3
    assert torch.equal(filled.tensor("faces")[0], filled.tensor("faces")[1])
    assert filled.tensor("latent").isfinite().all()


def test_each_frame_of_a_batch_follows_its_own_face(faces_server):
    def latent(node):
        g = Graph()
        model = g.add("TestModel", family="sd15", seed=1)[0]
        images = g.add("ImageBatch", image1=picture(g, "astronaut"), image2=picture(g, "hopper"))[0]
        g.save("latent", sample(g, face_node(g, model, "faceid_sd15.bin", images, node)[0], batch=2)[0])
        return faces_server.run(g).tensor("latent")

    together, apart = latent("IPAdapterFaceID"), latent("IPAAdapterFaceIDBatch")
    assert not torch.equal(together[0], apart[0]) and not torch.equal(together[1], apart[1])


def apply_faceid(server, file, v2, **more):
    """The first kind of FaceID node, in whose graphs V2 is a switch."""
    g = Graph()
    node = g.add(
        "IPAdapterApplyFaceID", ipadapter=g.add("IPAdapterModelLoader", ipadapter_file=file)[0],
        clip_vision=g.add("TestClipVision", seed=3)[0], image=picture(g, "astronaut"),
        insightface=g.add("InsightFaceLoader", provider="CPU")[0], model=g.add("TestModel", family="sd15", seed=1)[0],
        **{
            "weight": 1.0, "noise": 0.0, "weight_type": "original", "start_at": 0.0, "end_at": 1.0, "faceid_v2": v2,
            "weight_v2": 1.0, "unfold_batch": False,
        } | more,
    )  # fmt: skip
    g.save("latent", sample(g, node[0])[0])
    return server.run(g).tensor("latent")


def test_apply_ipadapter_faceid_gives_the_bits_of_ipadapter_faceid(faces_server):
    v2 = run(faces_server, "faceid-plusv2_sd15.bin")[0]
    assert torch.equal(apply_faceid(faces_server, "faceid-plusv2_sd15.bin", v2=True), v2)
    assert not torch.equal(apply_faceid(faces_server, "faceid-plusv2_sd15.bin", v2=False), v2)
    assert torch.equal(apply_faceid(faces_server, "faceid_sd15.bin", v2=False), run(faces_server)[0])


def test_the_lora_inside_the_adapter_has_a_strength(faces_server, bare):
    def latent(strength):
        g = Graph()
        adapter = g.add("IPAdapterModelLoader", ipadapter_file="faceid_sd15.bin")
        model = g.add("TestModel", family="sd15", seed=1)
        with_lora = g.add("IPAdapterFaceIDLoRA", model=model[0], ipadapter=adapter[0], strength=strength)
        g.save("latent", sample(g, with_lora[0])[0])
        return faces_server.run(g).tensor("latent")

    assert torch.equal(latent(0.0), bare("sd15"))
    assert not torch.equal(latent(1.0), bare("sd15"))


def test_the_lora_node_says_that_a_portrait_adapter_has_none(faces_server):
    g = Graph()
    adapter = g.add("IPAdapterModelLoader", ipadapter_file="faceid-portrait-v11_sd15.bin")
    model = g.add("TestModel", family="sd15", seed=1)
    g.save("model", g.add("IPAdapterFaceIDLoRA", model=model[0], ipadapter=adapter[0], strength=1.0)[0])
    with pytest.raises(PromptError, match="FaceID portrait. holds no LoRA"):
        faces_server.run(g)


@pytest.mark.parametrize("crop", ["aligned", "box"])
def test_a_cut_out_face_goes_into_a_plus_face_adapter(faces_server, bare, crop):
    g = Graph()
    pack = g.add("IPAdapterInsightFaceLoader", provider="CPU", model_name=assets.PACK)
    cut = g.add(
        "IPAdapterFaceCrop", image=picture(g, "astronaut"), size=256, crop=crop, padding=0.2, insightface=pack[0]
    )
    node = g.add(
        "IPAdapterAdvanced", model=g.add("TestModel", family="sd15", seed=1)[0], image=cut[0], weight=1.0,
        ipadapter=g.add("IPAdapterModelLoader", ipadapter_file="ip-adapter-plus-face_sd15.safetensors")[0],
        clip_vision=g.add("TestClipVision", seed=3)[0], weight_type="linear", combine_embeds="concat", start_at=0.0,
        end_at=1.0, embeds_scaling="V only",
    )  # fmt: skip
    g.save("latent", sample(g, node[0])[0])
    result = faces_server.run(g)
    assert not torch.equal(result.tensor("latent"), bare("sd15"))
    assert result.images(cut.id)[0].size == (256, 256)  # the preview


def test_a_face_crop_without_a_detector_says_what_to_connect(faces_server):
    g = Graph()
    g.add("IPAdapterFaceCrop", image=picture(g, "astronaut"), size=256, crop="box", padding=0.0)
    with pytest.raises(PromptError, match="connect an IPAdapter InsightFace Loader, or boxes to bboxes"):
        faces_server.run(g)


def test_a_face_that_fills_the_picture_is_found_once_it_has_a_margin(faces_server):
    g = Graph()
    ready = g.add(
        "PrepImageForInsightFace", image=picture(g, "astronaut"), crop_position="top", sharpening=0.1, pad_around=True
    )
    g.save("ready", ready[0])
    ready = faces_server.run(g).tensor("ready")
    assert ready.shape == (1, 640, 640, 3)
    assert not ready[:, :100].any() and ready[:, 200:440, 200:440].any()


def test_a_missing_pack_is_named_before_anything_is_downloaded(start_server):
    without_packs = start_server("--dont-print-server")  # whose model folders no other test fills
    g = Graph()
    g.save("pack", g.add("IPAdapterInsightFaceLoader", provider="CPU", model_name="antelopev2")[0])
    with pytest.raises(PromptError, match="No face pack 'antelopev2'.*antelopev2.zip.*non-commercial.*Nothing is down"):
        without_packs.run(g)


def test_the_unified_loader_brings_adapter_detector_and_lora(faces_server, bare):
    def latent(strength):
        g = Graph()
        model = g.add("TestModel", family="sd15", seed=1)
        loader = g.add(
            "IPAdapterUnifiedLoaderFaceID", model=model[0], preset="FACEID", lora_strength=strength, provider="CPU"
        )
        node = face_node(g, loader[0], "faceid_sd15.bin", ipadapter=loader[1], insightface=None)
        g.save("latent", sample(g, node[0])[0])
        return faces_server.run(g).tensor("latent")

    without_lora = latent(0.0)
    assert torch.equal(without_lora, run(faces_server)[0])
    assert not torch.equal(latent(0.6), without_lora)


def test_a_face_loader_on_clip_vision_as_in_december_2023_is_the_face_detector(faces_server, bare):
    file, numbers = "faceid_sd15.bin", {"weight": 1.0, "weight_type": "original", "start_at": 0.0, "end_at": 1.0}
    model = (g := Graph()).add("TestModel", family="sd15", seed=1)[0]
    today = face_node(g, model, file)
    links = {"model": model, "ipadapter": today.entry["inputs"]["ipadapter"], "image": today.entry["inputs"]["image"]}
    links["clip_vision"] = g.add("InsightFaceLoader", provider="CPU")[0]
    first = g.add("IPAdapterApply", noise=0.0, unfold_batch=False, **links, **numbers)
    g.save("today", sample(g, today[0])[0])
    g.save("first", sample(g, first[0])[0])
    result = faces_server.run(g)
    assert result.tensor("first").equal(result.tensor("today"))
    assert not result.tensor("first").equal(bare("sd15"))

"""What each FaceID variant makes of a face: the vector, the crop, and what the negative prompt sees."""

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, layer_norm, linear

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import synthetic
from harness.assets import FACE, SD15, SHALLOW
from pack.encoders.face_crops import box_crop
from pack.encoders.faces import FaceChoice, detect
from pack.ipadapter.checkpoint import read_checkpoint
from pack.nodes.apply import IPAdapterMS
from pack.nodes.applying.encoding import Reference, encode_reference
from pack.nodes.face import IPAdapterFaceID, IPAdapterFaceIDKolors
from pack.nodes.loading.adapters import Pipeline, manage
from test_nodes_pack import standins, unets

RAW = {"FaceID": False, "FaceID Plus": False, "FaceID portrait": False, "FaceID portrait unnorm": True}


def adapter(variant, sizes=SD15):
    return manage(read_checkpoint(synthetic.adapter(variant, seed=1, **sizes | FACE), f"{variant}.bin"))


@pytest.fixture(scope="module")
def clip_vision():
    return standins.tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224)


@pytest.fixture(scope="module")
def kolors():
    return adapter("Kolors FaceID Plus", SHALLOW)


def own_face(analysis, image):
    """What insightface itself says about the first face."""
    analysis.prepare(ctx_id=0, det_size=(640, 640))
    return analysis.get(np.ascontiguousarray((image[0] * 255).round().byte().numpy()[..., ::-1]))[0]


@pytest.mark.parametrize("variant", RAW)
def test_the_face_vector_has_length_one_but_for_the_unnormalised_portrait(analysis, photo, clip_vision, variant):
    face = own_face(analysis, photo("hopper"))
    embeds = encode_reference(Pipeline(adapter(variant), clip_vision, analysis), Reference(photo("hopper")))
    expected = face.embedding if RAW[variant] else face.normed_embedding
    # torch takes the norm here and numpy there
    torch.testing.assert_close(embeds.face[0], torch.from_numpy(expected), rtol=1e-6, atol=1e-7)
    assert embeds.face_negative.count_nonzero() == 0
    assert (embeds.positive is None) == (variant != "FaceID Plus")


def test_the_tokens_of_faceid_are_the_published_perceptron_of_the_vector(analysis, photo):
    loaded = adapter("FaceID")
    embeds = encode_reference(Pipeline(loaded, None, analysis), Reference(photo("hopper")))
    w = loaded.network.image_proj.state_dict()
    hidden = gelu(linear(embeds.face, w["proj.0.weight"], w["proj.0.bias"]))
    tokens = linear(hidden, w["proj.2.weight"], w["proj.2.bias"]).reshape(1, 4, 768)
    expected = layer_norm(tokens, (768,), w["norm.weight"], w["norm.bias"])
    torch.testing.assert_close(loaded.network.project(face=embeds.face), expected)


def test_kolors_takes_the_raw_vector_the_upright_square_and_no_clip_features_for_the_negative(
    analysis, photo, clip_vision, kolors
):
    reference = Reference(photo("hopper"), face=FaceChoice("largest"))
    embeds = encode_reference(Pipeline(kolors, clip_vision, analysis), reference)
    face = own_face(analysis, photo("hopper"))
    torch.testing.assert_close(embeds.face[0], torch.from_numpy(face.embedding), rtol=0, atol=0)
    square = box_crop((photo("hopper")[0] * 255).round().byte().numpy(), face.bbox, 336)
    torch.testing.assert_close(embeds.faces[0], torch.from_numpy(square).float() / 255, rtol=0, atol=0)
    assert embeds.negative.count_nonzero() == 0 and embeds.face_negative.count_nonzero() == 0
    assert embeds.positive.count_nonzero() > 0


def test_kolors_takes_the_largest_face_and_faceid_the_surest(analysis, photo):
    found = detect(analysis, photo("six people")[0])
    areas = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    assert areas.argmax() != 0, "the surest face must not be the largest for this to prove anything"
    model, loaded = unets.tiny_model("sd15", seed=1), adapter("FaceID")

    def crop(node, **choice):
        return node.execute(model, loaded, photo("six people"), insightface=analysis, **choice).args[1]

    surest, largest = (crop(IPAdapterFaceID, face=order) for order in ("highest score", "largest"))
    assert not surest.equal(largest)
    assert crop(IPAdapterFaceID).equal(surest) and crop(IPAdapterFaceIDKolors).equal(largest)


def test_a_model_without_kolors_text_projection_is_named(analysis, photo, clip_vision, kolors):
    model = unets.tiny_model("sdxl shallow", seed=1)
    with pytest.raises(ValueError, match="needs the text projection .encoder_hid_proj. of a Kolors model"):
        IPAdapterFaceIDKolors.execute(model, kolors, photo("hopper"), clip_vision=clip_vision, insightface=analysis)


def test_other_packs_call_a_face_node_by_keyword(analysis, photo):
    model = unets.tiny_model("sd15", seed=1)
    patched, faces = IPAdapterFaceID().apply_ipadapter(
        model=model, ipadapter=adapter("FaceID"), image=photo("hopper"), weight=0.8, weight_faceidv2=1.0,
        weight_type="linear", start_at=0.0, end_at=1.0, insightface=analysis, attn_mask=None,
    )  # fmt: skip
    assert patched is not model and faces.shape == (1, 224, 224, 3)


def test_a_missing_vision_encoder_is_never_asked_for_without_a_clip_part(analysis, photo):
    class Forbidden:
        def encode_image(self, image):
            raise AssertionError("an adapter without a CLIP part must not run the encoder")

    model = unets.tiny_model("sd15", seed=1)
    for clip_vision in (None, Forbidden()):
        sockets = {"clip_vision": clip_vision, "insightface": analysis}
        IPAdapterFaceID.execute(model, adapter("FaceID portrait"), photo("hopper"), **sockets)


def test_the_layer_text_node_follows_a_face_too(analysis, photo):
    model = unets.tiny_model("sd15", seed=1)
    patched, faces = IPAdapterMS().apply_ipadapter(
        model=model, ipadapter=adapter("FaceID"), image=photo("hopper"), weight=1.0, weight_faceidv2=1.0,
        weight_type="linear", layer_weights="3:0.5, 6:1.0", insightface=analysis,
    )  # fmt: skip
    assert patched is not model and faces.shape == (1, 224, 224, 3)

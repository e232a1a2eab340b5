"""From a photo to what PuLID's encoder reads: the face vector, the crop, the face parser, EVA-CLIP's hidden states."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")
pytest.importorskip("insightface", reason="faces need insightface")

from dataclasses import replace

import folder_paths
import open_clip
from torch.nn.functional import interpolate
from torchvision.models import resnet18

from identity import pulid_formulas as formulas
from identity.pulid_files import STATE
from pack.encoders.encoder import stretch
from pack.encoders.face_crops import FFHQ_POINTS, ffhq_crop
from pack.encoders.face_parsing import FaceParser, faces_and_hair, grey_faces
from pack.encoders.faces import face_features
from pack.encoders.openclip import CLIP_MEAN, CLIP_STD
from pack.encoders.openclip_layout import to_openclip
from pack.encoders.openclip_shapes import architecture_of, visual_shapes
from pack.ipadapter.errors import CheckpointError, EncoderMismatchError, FaceError
from pack.ipadapter.peek import is_eva
from pack.nodes.applying import pulid
from pack.nodes.applying.pulid import BLOCKS, Person, see_person, shrunk
from pack.nodes.loading import openclip
from test_nodes_pack.eva import HEADS, REFERENCE, SIZE, Tower, vision
from test_nodes_pack.standins import seeded, tiny_clip_vision
from test_nodes_pack.unets import seed_weights

NAMES = {  # of timm's modules, and what EVA-CLIP's authors call them
    "attn.norm.": "attn.inner_attn_ln.", "attn.q_proj.bias": "attn.q_bias", "attn.v_proj.bias": "attn.v_bias",
    "mlp.norm.": "mlp.ffn_ln.", "mlp.fc1_g.": "mlp.w1.", "mlp.fc1_x.": "mlp.w2.", "mlp.fc2.": "mlp.w3.",
}  # fmt: skip


def authors_name(name):
    for timm, theirs in NAMES.items():
        name = name.replace(timm, theirs)
    return name


@pytest.fixture(scope="module")
def eva():
    """A narrow EVA02-CLIP, as the OpenCLIP loader hands it over, and its tensors with the authors' names."""
    tower = Tower(4)
    tensors = {authors_name(name): t.clone() for name, t in tower.trunk.state_dict().items()}
    return vision(openclip, tower), tensors


def test_the_file_of_eva_clips_authors_is_a_layout_of_its_own_for_the_same_tower():
    shapes = visual_shapes(open_clip, "EVA02-L-14-336")
    assert len(shapes) == 512
    published = {
        f"visual.{authors_name(name.removeprefix('trunk.'))}": torch.empty(shape, device="meta")
        for name, shape in shapes.items()
    }
    tables = {f"visual.{where}rope.freqs_cos": torch.empty(576, 64) for where in ("", "blocks.0.attn.")}
    text = {"text.positional_embedding": torch.empty(77, 768, device="meta")}
    named, layout = to_openclip({**published, **tables, **text})
    assert layout == "EVA-CLIP"
    assert {name: t.shape for name, t in named.items()} == {f"visual.{name}": shape for name, shape in shapes.items()}
    assert architecture_of(open_clip, named)[0] == "EVA02-L-14-336"
    assert is_eva(published) and is_eva(named) and not is_eva(text)


def test_hidden_states_and_pooled_embeds_of_the_tower_are_the_formulas(eva):
    encoder, tensors = eva
    pictures = seeded((2, SIZE, SIZE, 3), 3) + 0.5  # outside of 0..1 too, which must reach the tower
    pooled, states = encoder.encode_states(pictures, BLOCKS)
    pixels = ((pictures - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)).movedim(-1, 1)
    assert BLOCKS == (3, 7, 11, 15, 19)
    expected, kept = formulas.eva(tensors, pixels, HEADS, (4, 8, 12, 16), REFERENCE)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-4)
    for state, wanted in zip(states, kept, strict=False):
        torch.testing.assert_close(state, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_a_person_is_the_raw_face_vector_the_pooled_embeds_and_five_states(eva, analysis, photo, caplog):
    encoder, _ = eva
    person = Person(photo("astronaut"))
    seen = see_person(encoder, analysis, person)
    assert seen.ids.shape == (1, 544) and [state.shape for state in seen.states] == [(1, 5, STATE)] * 5
    assert abs(float(seen.ids[:, :512].norm()) - 1) > 0.5  # of its own length
    assert float(seen.ids[:, 512:].norm()) == pytest.approx(1, abs=1e-5)
    again = see_person(encoder, analysis, person)
    assert again.states[0] is seen.states[0]  # encoded once
    larger = interpolate(photo("astronaut").movedim(-1, 1), scale_factor=4.0, mode="bicubic").movedim(1, -1).clamp(0, 1)
    smaller = see_person(encoder, analysis, replace(person, images=larger))
    alike = torch.cosine_similarity(smaller.ids[:, :512], seen.ids[:, :512])
    assert float(alike) > 0.9
    assert shrunk(torch.zeros(1, 4096, 1, 3)).shape == (1, 1024, 1, 3)
    assert shrunk(larger).shape == (1, 1024, 1024, 3) and shrunk(person.images) is person.images
    assert torch.equal(smaller.ids, see_person(encoder, analysis, replace(person, images=shrunk(larger))).ids)
    nothing_kept = torch.zeros(photo("astronaut").shape[1:3])
    white = see_person(encoder, analysis, replace(person, face_mask=nothing_kept))
    assert caplog.text.count("face_mask is black everywhere, so the vision encoder sees no part of the face") == 1
    assert torch.equal(white.ids[:, :512], seen.ids[:, :512])
    blank, _ = encoder.encode_states(torch.ones(1, SIZE, SIZE, 3), BLOCKS)
    torch.testing.assert_close(white.ids[:, 512:], blank / blank.norm(), rtol=1e-4, atol=1e-4)


def test_a_parser_in_models_facexlib_whitens_what_is_no_face_and_without_it_that_is_said(
    eva, analysis, photo, tmp_path, monkeypatch, caplog
):
    encoder, person = eva[0], Person(photo("astronaut"))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "facexlib", ([str(tmp_path)], {".pth"}))
    whole = see_person(encoder, analysis, person)
    assert caplog.text.count("No face parser") == 1
    parser = FaceParser()
    seed_weights(parser, 1)
    old_format = {"_use_new_zipfile_serialization": False}  # of the published file
    torch.save(parser.state_dict(), tmp_path / "parsing_bisenet.pth", **old_format)
    caplog.clear()
    parsed = see_person(encoder, analysis, person)
    face = face_features(analysis, person.images, 512, choice=person.face, crop="head")
    masks = faces_and_hair(parser.train(False), face.crops)
    pooled, _ = encoder.encode_states(stretch(grey_faces(face.crops, masks), SIZE), BLOCKS)
    torch.testing.assert_close(parsed.ids[:, 512:], pooled / pooled.norm(), rtol=1e-5, atol=1e-5)
    assert "No face parser" not in caplog.text and not torch.equal(parsed.ids, whole.ids)
    monkeypatch.setattr(pulid, "load_parser", None)  # what it found is kept, so it is not read again
    assert torch.equal(see_person(encoder, analysis, person).ids, parsed.ids)


def test_photos_without_a_face_are_left_out_and_if_all_have_none_that_is_said(eva, analysis, photo):
    encoder, _ = eva
    face = photo("astronaut")
    both = torch.cat((torch.zeros_like(face), face))
    torch.testing.assert_close(
        see_person(encoder, analysis, Person(both)).ids, see_person(encoder, analysis, Person(face)).ids
    )
    with pytest.raises(FaceError, match="No face found"):
        see_person(encoder, analysis, Person(torch.zeros_like(face)))
    with pytest.raises(EncoderMismatchError, match="EVA02-CLIP"):
        see_person(tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224), analysis, Person(face))


def test_a_head_is_cut_out_upright_with_its_points_on_ffhqs():
    points = FFHQ_POINTS * 0.5 + 40
    picture = torch.zeros(400, 400, 3, dtype=torch.uint8).numpy()
    for x, y in points:
        picture[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 255
    crop = ffhq_crop(picture, points)
    for x, y in FFHQ_POINTS:
        assert crop[round(y), round(x)].min() > 200
    assert tuple(ffhq_crop(picture, points - 300)[-1, -1]) == (132, 133, 135)


def test_the_parser_has_the_published_size_and_its_backbone_is_torchvisions():
    parser = FaceParser().train(False)
    values = sum(t.numel() * t.element_size() for t in parser.state_dict().values())
    assert 53_289_463 - 100_000 < values < 53_289_463  # the published file; the rest is its list of contents
    judge = resnet18().train(False)
    seed_weights(judge, 1)
    parser.cp.resnet.load_state_dict({k: v for k, v in judge.state_dict().items() if not k.startswith("fc.")})
    x = seeded((1, 3, 64, 64), 2)
    with torch.no_grad():
        stem = judge.layer1(judge.maxpool(judge.relu(judge.bn1(judge.conv1(x)))))
        eighth = judge.layer2(stem)
        expected = eighth, judge.layer3(eighth), judge.layer4(judge.layer3(eighth))
        for found, wanted in zip(parser.cp.resnet(x), expected, strict=True):
            torch.testing.assert_close(found, wanted)


def test_a_parser_is_read_from_its_file_and_keeps_face_and_hair_alone():
    parser = FaceParser()
    seed_weights(parser, 1)
    read = FaceParser.from_tensors(parser.state_dict(), "parsing_bisenet.pth")
    crops = seeded((1, 64, 64, 3), 2).sigmoid()
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    with torch.no_grad():
        classes = read(((crops - mean) / std).movedim(-1, 1)).argmax(1)
    outside = torch.tensor((0, 7, 8, 9, 14, 15, 16, 18))  # background, ears, earring, neck, necklace, cloth, hat
    kept = (~torch.isin(classes, outside)).float()
    masks = faces_and_hair(read, crops)
    assert torch.equal(masks, kept) and 0 < kept.mean() < 1
    shown = grey_faces(crops, masks)
    assert (shown[masks == 0] == 1).all()
    grey = crops[masks == 1] @ torch.tensor((0.299, 0.587, 0.114))
    torch.testing.assert_close(shown[masks == 1], grey.unsqueeze(-1).expand(-1, 3))
    with pytest.raises(CheckpointError, match=r"other.pth is no face parser"):
        FaceParser.from_tensors({"conv1.weight": torch.zeros(1)}, "other.pth")

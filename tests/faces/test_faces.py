"""Real faces in real photos, through a real detector and recogniser."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from faces import assets, paintings
from pack.encoders.face_boxes import faces_from_boxes
from pack.encoders.faces import (
    DETECTION_SIZES,
    FaceChoice,
    crop_faces,
    detect,
    face_features,
    select_faces,
)
from pack.ipadapter.cache import ContentCache
from pack.ipadapter.errors import FaceError

PEOPLE = ["astronaut", "hopper", "person_a_1", "person_a_2", "person_b_1", "person_b_2", "impostor_1", "impostor_2"]
SAME = [("person_a_1", "person_a_2"), ("person_b_1", "person_b_2")]


@pytest.fixture(scope="module")
def embeds(analysis, photo):
    return {name: face_features(analysis, photo(name), 224).embeds[0] for name in PEOPLE}


@pytest.mark.parametrize(("one", "two"), SAME)
def test_the_same_person_is_recognised_in_photos_years_apart(embeds, one, two):
    assert cosine_similarity(embeds[one], embeds[two], dim=0) > 0.5


@pytest.mark.parametrize(
    ("one", "two"), [(a, b) for i, a in enumerate(PEOPLE) for b in PEOPLE[i + 1 :] if (a, b) not in SAME]
)
def test_different_people_are_told_apart(embeds, one, two):
    assert cosine_similarity(embeds[one], embeds[two], dim=0) < 0.3


def test_there_are_six_faces_in_the_group(analysis, photo):
    assert len(detect(analysis, photo("six people")[0])) == 6


@pytest.mark.parametrize("name", ["cat", "rocket"])
def test_there_is_no_face_in_a(analysis, photo, name):
    assert len(detect(analysis, photo(name)[0])) == 0
    with pytest.raises(FaceError, match="image 1 of 1.*640 to 256"):
        face_features(analysis, photo(name), 224)


def test_a_face_that_fills_the_picture_is_found_at_a_smaller_detection_size(analysis, photo):
    left, top, right, bottom = (int(edge) for edge in detect(analysis, photo("astronaut")[0])[0, :4])
    x, y = (right - left) // 5, (bottom - top) // 5
    close = photo("astronaut")[:, top + y : bottom - y, left + x : right - x]
    found = [len(analysis.det_model.detect(_bgr(close[0]), input_size=(size, size))[0]) for size in DETECTION_SIZES]
    assert found == [0, 0, 0, 1, 1, 1, 1]
    assert len(detect(analysis, close[0])) == 1
    assert face_features(analysis, close, 224).kept == (0,)


def test_a_coffee_cup_is_doubted_and_a_least_score_leaves_it_out(analysis, photo):
    faces = face_features(analysis, photo("coffee"), 224)
    (note,) = faces.notes
    assert "Image 1: is this a face?" in note and "score 0.62, seen only where the picture was made 576" in note
    with pytest.raises(FaceError, match=r"No face with a score of at least 0.70 found in image 1 of 1"):
        face_features(analysis, photo("coffee"), 224, choice=FaceChoice(least_score=0.7))


@pytest.mark.parametrize("name", PEOPLE)
def test_no_face_in_a_photo_is_doubted_or_left_out(analysis, photo, name):
    faces = face_features(analysis, photo(name), 224, choice=FaceChoice(least_score=0.8))
    assert faces.notes == () and faces.kept == (0,)


def test_where_the_first_size_shows_no_face_that_is_sure_enough_a_smaller_one_is_tried(analysis, photo, monkeypatch):
    real = analysis.det_model.detect

    def unsure(picture, input_size):
        boxes, points = real(picture, input_size=input_size)
        boxes[:, 4] -= 0.5 if input_size[0] > 512 else 0.0
        return boxes, points

    monkeypatch.setattr(analysis.det_model, "detect", unsure)
    found = detect(analysis, photo("hopper")[0], least_score=0.8)
    assert len(found) == 1 and found[0, 15] == 512


def _bgr(image):
    return np.ascontiguousarray((image * 255).round().byte().numpy()[..., ::-1])


def _settings(analysis):
    detector = analysis.det_model
    names = ("input_size", "input_sizes", "det_thresh", "nms_thresh", "det_size")
    return {name: getattr(owner, name, None) for owner in (detector, analysis) for name in names}


def test_the_detector_keeps_its_settings(analysis, photo):
    analysis.prepare(ctx_id=0, det_size=(320, 320), det_thresh=0.61)
    before = json.dumps(_settings(analysis))
    detect(analysis, photo("cat")[0])
    face_features(analysis, photo("astronaut"), 224)
    assert json.dumps(_settings(analysis)) == before
    analysis.prepare(ctx_id=0, det_size=(640, 640), det_thresh=0.5)


def test_the_detection_size_of_another_pack_s_prepare_does_not_matter(analysis, photo):
    wanted = detect(analysis, photo("astronaut")[0])
    analysis.prepare(ctx_id=0, det_size=(320, 320))
    torch.testing.assert_close(detect(analysis, photo("astronaut")[0]), wanted, rtol=0, atol=0)
    analysis.prepare(ctx_id=0, det_size=(640, 640))


def test_embeds_and_boxes_equal_insightface_s_own_get(analysis, photo):
    analysis.prepare(ctx_id=0, det_size=(640, 640))
    face = analysis.get(_bgr(photo("hopper")[0]))[0]
    for normed, expected in ((True, face.normed_embedding), (False, face.embedding)):
        embeds = face_features(analysis, photo("hopper"), 224, normed=normed).embeds
        assert embeds.shape == (1, 512)
        # torch takes the norm here and numpy there
        torch.testing.assert_close(embeds[0], torch.from_numpy(expected), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(detect(analysis, photo("hopper")[0])[0, :4].numpy(), face.bbox)


def test_a_face_can_be_chosen_by_score_by_size_and_from_the_left(analysis, photo):
    looked_at = ContentCache(1 << 20)  # nine choices from one look, as nodes choose
    group = photo("six people")
    found = detect(analysis, group[0])
    areas = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    wanted = {
        "highest score": found[:, 4].argsort(descending=True),
        "largest": areas.argsort(descending=True),
        "left-most": found[:, 0].argsort(),
    }
    analysis.prepare(ctx_id=0, det_size=(640, 640))
    everybody = [torch.from_numpy(face.normed_embedding) for face in analysis.get(_bgr(group[0]))]
    for order, faces in wanted.items():
        for index in (0, 1, 5):
            choice = FaceChoice(order, index)
            chosen = face_features(analysis, group, 224, choice=choice, cache=looked_at).embeds[0]
            # torch takes the norm here and numpy there
            torch.testing.assert_close(chosen, everybody[faces[index]], rtol=1e-6, atol=1e-7)
    assert len({tuple(faces.tolist()) for faces in wanted.values()}) == 3, "the orders must differ to prove anything"


def test_a_face_number_that_no_image_has_is_an_error_that_says_so(analysis, photo):
    with pytest.raises(FaceError, match=r"No face number 3 found in image 1 of 1.*a face that fills it\.$"):
        face_features(analysis, photo("astronaut"), 224, choice=FaceChoice(index=2))


@pytest.fixture(scope="module")
def looked_at():
    """What was found in pictures, as nodes keep it: looking for a face that is not there takes seven detections."""
    return ContentCache(1 << 20)


@pytest.fixture(scope="module")
def film(photo):
    """Four frames; the second and the fourth show no face."""
    black = torch.zeros(1, 512, 512, 3)
    return torch.cat([photo("astronaut"), black, photo("hopper")[:, :512], black])


def test_the_error_names_every_image_without_a_face(analysis, film, looked_at):
    with pytest.raises(FaceError, match="image 2, 4 of 4.*or let images be skipped"):
        face_features(analysis, film, 224, cache=looked_at)


def test_images_without_a_face_can_be_skipped(analysis, film, looked_at):
    faces = face_features(analysis, film, 224, choice=FaceChoice(missing="skip the image"), cache=looked_at)
    assert faces.kept == (0, 2)
    assert faces.embeds.shape == (2, 512) and faces.crops.shape == (2, 224, 224, 3)


def test_images_without_a_face_can_use_the_neighbour_s(analysis, film, looked_at):
    faces = face_features(analysis, film, 224, choice=FaceChoice(missing="use the neighbour's"), cache=looked_at)
    assert faces.kept == (0, 0, 2, 2)
    torch.testing.assert_close(faces.crops[1], faces.crops[0], rtol=0, atol=0)
    torch.testing.assert_close(faces.embeds[3], faces.embeds[2], rtol=0, atol=0)


@pytest.mark.parametrize("missing", ["error", "skip the image", "use the neighbour's"])
def test_a_batch_without_any_face_is_always_an_error(analysis, looked_at, missing):
    with pytest.raises(FaceError, match="image 1, 2 of 2"):
        face_features(analysis, torch.zeros(2, 64, 48, 3), 224, choice=FaceChoice(missing=missing), cache=looked_at)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3)])
def test_a_picture_of_any_size_with_alpha_and_nan_is_looked_at(analysis, size):
    picture = torch.rand(*size, 4, generator=torch.Generator().manual_seed(0))
    picture[0, 0, 0] = torch.nan
    assert detect(analysis, picture).shape == (0, 16)


def test_the_same_picture_is_detected_and_recognised_once(analysis, photo, monkeypatch):
    calls = []
    cache = ContentCache(1 << 20)
    for model, name in ((analysis.det_model, "detect"), (analysis.models["recognition"], "get")):
        real = getattr(model, name)
        monkeypatch.setattr(model, name, lambda *a, real=real, name=name, **k: (calls.append(name), real(*a, **k))[1])
    first = face_features(analysis, photo("hopper"), 224, cache=cache)
    again = face_features(analysis, photo("hopper").clone(), 256, normed=False, cache=cache)
    assert calls == ["detect", "get"]
    assert again.crops.shape == (1, 256, 256, 3)
    torch.testing.assert_close(again.embeds / again.embeds.norm(), first.embeds, rtol=0, atol=1e-7)  # float32 rounding


def test_something_else_on_the_socket_is_named(photo):
    with pytest.raises(FaceError, match="Expected an insightface FaceAnalysis, found dict"):
        face_features({}, photo("astronaut"), 224)


def test_insightface_073_and_the_current_one_give_the_same_faces(embeds, face_root):
    program = Path(__file__).with_name("print_faces.py")
    pack = face_root / "models" / assets.PACK
    pictures = ["astronaut", "hopper", "person_a_1"]
    result = subprocess.run(
        [sys.executable, str(program), str(pack), *(str(assets.PHOTOS[name]()) for name in pictures)],
        env=os.environ | {"PYTHONPATH": str(assets.insightface_073())}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    version, *rows = (json.loads(line[5:]) for line in result.stdout.splitlines() if line.startswith("json "))
    assert version == "0.7.3"
    for name, row in zip(pictures, rows, strict=True):
        torch.testing.assert_close(torch.tensor(row["embeds"]), embeds[name], rtol=0, atol=1e-5)  # through text
        assert row["settings_kept"]


def test_a_strip_that_detectors_would_shrink_to_nothing_has_no_face(analysis):
    for size in ((4, 4096), (4096, 2)):
        with pytest.raises(FaceError, match="No face found in image 1 of 1"):
            face_features(analysis, torch.rand(1, *size, 3), 224, choice=FaceChoice())


def test_an_empty_batch_is_an_error_that_says_so(analysis):
    with pytest.raises(FaceError, match="batch of images is empty"):
        face_features(analysis, torch.zeros(0, 64, 64, 3), 224)


def test_boxes_of_any_detector_choose_and_cut_faces(photo):
    group = photo("astronaut")
    boxes = [
        {"x": 300, "y": 20, "width": 40, "height": 50, "score": 0.6},
        {"x": 178, "y": 63, "width": 90, "height": 110},
    ]
    for given in (boxes, [boxes]):
        found = faces_from_boxes(given, 1)
        chosen, kept = select_faces(found, FaceChoice("largest"))
        crop = crop_faces(group, chosen, kept, 110, crop="box")
        torch.testing.assert_close(crop, group[:, 63:173, 168:278], rtol=0, atol=1e-7)  # a byte over 255, twice
    with pytest.raises(FaceError, match="no eyes, nose and mouth"):
        crop_faces(group, chosen, kept, 110)
    with pytest.raises(FaceError, match="boxes are of 1 images and 3 images came in"):
        faces_from_boxes(boxes, 3)
    for wrong in ([None], [[np.zeros(4)]], [np.zeros(4)]):  # no list of boxes, and boxes of other forms
        with pytest.raises(FaceError, match="box"):
            faces_from_boxes(wrong, 1)
    assert [len(faces) for faces in faces_from_boxes([[], boxes, boxes[0:1]], 3)] == [0, 2, 1]
    assert [len(faces) for faces in faces_from_boxes(boxes[0], 1)] == [1]


@pytest.mark.skipif(not paintings.available(), reason="the paintings come as a Debian package")
@pytest.mark.parametrize(("name", "faces"), [("MonaLisa", 1), ("HokusaiWomanHoldingFan", 1), ("GreatWave", 0)])
def test_a_painted_face_is_found_as_a_photographed_one(analysis, name, faces):
    picture = paintings.painting(name)
    assert len(detect(analysis, picture[0])) == faces
    if faces:
        assert face_features(analysis, picture, 256).crops.shape == (1, 256, 256, 3)


def test_a_grey_picture_shows_the_face_of_one_with_three_equal_channels(analysis, photo):
    grey = photo("hopper").mean(-1, keepdim=True)
    one, three = (face_features(analysis, images, 224) for images in (grey, grey.repeat(1, 1, 1, 3)))
    assert one.embeds.equal(three.embeds) and one.crops.equal(three.crops)

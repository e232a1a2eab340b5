"""The score of faces in the node that scores pictures, with a real detector and recogniser."""

import csv
import io

import pytest
import torch
from PIL import Image

pytest.importorskip("comfy.clip_vision", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from pack.charts.score_chart import CLIP_AXIS, FACE_AXIS, Series, draw_scores
from pack.ipadapter.errors import AdapterError
from pack.nodes import scores as score_node
from pack.nodes.applying.scoring import score_faces
from pack.nodes.scores import IPAdapterScore
from test_nodes_pack.standins import tiny_clip_vision


def test_faces_are_scored_by_their_recogniser_and_a_picture_without_one_has_no_score(analysis, photo):
    encoder = tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224)
    person, again, other, cat = (photo(name) for name in ("person_a_1", "person_a_2", "hopper", "cat"))
    images = [again, torch.cat((0 * other, other)), cat]  # of any sizes; two in a batch, one of them black

    def scored(**more: object) -> tuple[float, list[dict[str, str]]]:
        node = IPAdapterScore.execute(images=images, clip_vision=[encoder], references=[person], prompt=[""], **more)
        return node.result[4], list(csv.DictReader(io.StringIO(node.result[2])))

    mean, rows = scored(insightface=[analysis])
    same, *none, strange, last = (row["face"] for row in rows)
    assert float(same) > 0.5 > 0.3 > float(strange) and [*none, last] == ["", ""]
    assert mean == pytest.approx((float(same) + float(strange)) / 2, abs=1e-4)
    bundle = {"ipadapter": {"model": None}, "insightface": {"provider": "CPU", "model": analysis}}
    assert scored(insightface=[bundle]) == (mean, rows)
    without, rows = scored()
    assert without == 0 and "face" not in rows[0]
    with pytest.raises(AdapterError, match="references is not connected"):
        score_faces(analysis, images, [])


def test_the_node_says_the_scores_and_which_pictures_show_no_face(analysis, photo, monkeypatch):
    said: list[tuple[list[str], str]] = []
    axes: list[str] = []

    def drawn(series: list[Series], axis: str) -> Image.Image:
        axes.append(axis)
        return draw_scores(series, axis)

    monkeypatch.setattr(score_node, "draw_scores", drawn)
    monkeypatch.setattr(score_node, "say_notes", lambda notes, result: said.append(([*notes], result)))
    encoder = tiny_clip_vision(seed=3, hidden=64, projection=32, image_size=224)
    person, again, cat = (photo(name) for name in ("person_a_1", "person_a_2", "cat"))
    for images in ([again], [again, cat], [cat]):
        IPAdapterScore.execute(
            images=images, clip_vision=[encoder], references=[person], prompt=[""], insightface=[analysis]
        )
    assert [notes for notes, _ in said] == [
        [],
        ["No face was found in picture 2, so FACE is the mean over the others."],
        ["No face was found in any picture, so FACE is 0 and the chart shows CLIP-I."],
    ]
    assert ["face 0." in result for _, result in said] == [True, True, False]
    assert [result.startswith("CLIP-I ") for _, result in said] == [True, True, True]
    assert axes == [FACE_AXIS, FACE_AXIS, CLIP_AXIS]

"""What may be no face, and what is only half there: said, shown and left out where that is asked for, in a server."""

from typing import Any

import pytest
import torch

import synthetic
from faces import assets
from faces.graphs import VARIANTS, picture, run
from harness.assets import FACE, SD15
from harness.client import PromptError
from harness.graph import Graph


def test_a_doubtful_face_is_told_in_the_log_shown_as_a_crop_and_left_out_by_a_least_score(faces_server):
    _, faces = run(faces_server, photo="coffee")
    assert faces.shape == (1, 224, 224, 3)
    assert "Image 1: is this a face?" in faces_server.log and "score 0.62" in faces_server.log
    with pytest.raises(PromptError, match="No face with a score of at least 0.80 found in image 1 of 1"):
        run(faces_server, photo="coffee", least_score=0.8)
    g = Graph()
    pack = g.add("IPAdapterInsightFaceLoader", provider="CPU", model_name=assets.PACK)[0]
    widgets = {"size": 256, "crop": "box", "padding": 0.2, "least_score": 0.8}
    g.add("IPAdapterFaceCrop", image=picture(g, "coffee"), insightface=pack, **widgets)
    with pytest.raises(PromptError, match="No face with a score of at least 0.80"):
        faces_server.run(g)


def test_a_value_left_over_on_a_widget_of_faces_changes_neither_the_face_nor_the_picture(faces_server):
    """True on least_score would leave out every face, for no detection has a score of 1."""
    latent, faces = run(faces_server)
    leftovers: tuple[dict[str, Any], ...] = (
        {"least_score": True}, {"least_score": "0:1.0, 1:1.0"}, {"face": 0.5, "least_score": 0.99},
    )  # fmt: skip
    for left in leftovers:
        for found, expected in zip(run(faces_server, **left), (latent, faces), strict=True):
            assert found.equal(expected), left


def test_half_a_lora_takes_only_itself_out_of_use(faces_server, monkeypatch):
    whole = synthetic.adapter("FaceID", dtype=torch.float16, **SD15 | FACE)
    layers = {key: tensor for key, tensor in whole["ip_adapter"].items() if not key.startswith("3.to_q_lora.up")}
    synthetic.save(whole | {"ip_adapter": layers}, faces_server.base / "models" / "ipadapter" / "half.bin")
    monkeypatch.setitem(VARIANTS, "half.bin", VARIANTS["faceid_sd15.bin"])
    assert torch.equal(run(faces_server, "half.bin")[0], run(faces_server)[0])
    assert "half.bin: the LoRA in it cannot be used: attention 3.to_q is not complete" in faces_server.log
    g = Graph()
    adapter = g.add("IPAdapterModelLoader", ipadapter_file="half.bin")
    model = g.add("TestModel", family="sd15", seed=1)
    g.save("model", g.add("IPAdapterFaceIDLoRA", model=model[0], ipadapter=adapter[0], strength=1.0)[0])
    with pytest.raises(PromptError, match="The LoRA in half.bin cannot be used: attention 3.to_q is not complete"):
        faces_server.run(g)

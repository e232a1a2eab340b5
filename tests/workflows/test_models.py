"""Workflows say where their models are had, so that the page offers them; as the one table of what exists does."""

import json

import pytest

from harness.host import ROOT
from pack.ipadapter.catalog import BY_NAME

FILES = sorted((ROOT / "workflows").glob("*.json"))
SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".sft")


def nodes_of(file):
    workflow = json.loads(file.read_text("utf-8"))
    inner = [node for graph in (workflow.get("definitions") or {}).get("subgraphs", ()) for node in graph["nodes"]]
    return [*workflow["nodes"], *inner]


def named(node):
    """The model files that a node's widgets name."""
    values = node.get("widgets_values") or []
    values = values.values() if isinstance(values, dict) else values
    return [value for value in values if isinstance(value, str) and value.lower().endswith(SUFFIXES)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_model_of_a_workflow_is_offered_from_where_the_table_says(file):
    for node in nodes_of(file):
        offered = node.get("properties", {}).get("models", [])
        assert [model["name"] for model in offered] == named(node), node["type"]
        for model in offered:
            known = BY_NAME.get(model["name"])
            if known is None:  # a checkpoint, which is no file of ours
                assert model["directory"] in ("checkpoints", "controlnet", "diffusion_models", "text_encoders", "vae")
                assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(model["name"])
            else:
                hashed = {"hash": known.sha256, "hash_type": "SHA256"} if known.sha256 else {}
                assert model == {"name": known.name, "url": known.url, "directory": known.folder} | hashed


def test_there_are_models_to_check():
    assert sum(len(named(node)) for file in FILES for node in nodes_of(file)) > 20

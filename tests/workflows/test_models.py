"""Workflows say where their models are had, so that the page offers them; as the one table of what exists does."""

import json
from pathlib import Path
from typing import Any

from authoring.lessons import RECIPES
from authoring.lessons.files import named
from harness.host import ROOT
from pack.ipadapter.catalog import BY_NAME

FILES = sorted((ROOT / "workflows").glob("*.json"))
SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".sft")
# Of models that are not in our catalog.
FOLDERS = ("checkpoints", "controlnet", "diffusion_models", "loras", "text_encoders", "vae")


def nodes_of(file: Path) -> list[dict[str, Any]]:
    workflow = json.loads(file.read_text("utf-8"))
    inner = [node for graph in (workflow.get("definitions") or {}).get("subgraphs", ()) for node in graph["nodes"]]
    return [*workflow["nodes"], *inner]


def models_in(node: dict[str, Any]) -> list[str]:
    """The model files that a node's widgets name."""
    values = node.get("widgets_values") or []
    values = values.values() if isinstance(values, dict) else values
    return [value for value in values if isinstance(value, str) and value.lower().endswith(SUFFIXES)]


def wrongly_offered(model: dict[str, Any]) -> bool:
    """Whether what a workflow says of a model is not what the catalog says, or no address that a user can open."""
    known = BY_NAME.get(model["name"])
    if known is None:  # a checkpoint, which is no file of ours
        address = model["url"]
        has_address = address.startswith("https://huggingface.co/") and address.endswith(model["name"])
        return model["directory"] not in FOLDERS or not has_address
    hashed = {"hash": known.sha256, "hash_type": "SHA256"} if known.sha256 else {}
    return model != {"name": known.name, "url": known.url, "directory": known.folder} | hashed


def test_every_model_of_a_workflow_is_offered_from_where_the_table_says():
    wrong, seen = [], 0
    for file in FILES:
        for node in nodes_of(file):
            offered = node.get("properties", {}).get("models", [])
            names = models_in(node)
            seen += len(names)
            if [model["name"] for model in offered] != names:
                wrong.append(f"{file.stem}: {node['type']} names {names} and offers {offered}")
            wrong += [f"{file.stem}: {node['type']} offers {model}" for model in offered if wrongly_offered(model)]
            if file.stem in RECIPES:  # drawn by our program, from the lessons' own list of files
                wrong += [f"{file.stem}: {model} is not drawn" for model in offered if named(model["name"]) != [model]]
    assert wrong == []
    assert seen > 20

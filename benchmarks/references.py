"""What references without an adapter cost: weighed references of an edit model, and riding references of a UNet."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import comfy.ldm.flux.math as flux_math
import comfy.ldm.modules.attention as host_attention
import torch
from comfy.model_patcher import ModelPatcher

from pack.ipadapter.cache import tensor_bytes
from pack.nodes.applying.references import weigh_references
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.sampling.attach import rider_of
from pack.nodes.sampling.reference_weights import ReferenceWeights
from pack.nodes.sampling.riding import Ride
from performance.forwards import operations, python_calls
from performance.rig import Rig, half_mask
from references.edit_models import MODELS, OTHER, SIZE, model_of, sample
from test_nodes_pack.counting import host_reads, total
from test_nodes_pack.standins import seeded

from .report import put_between_marks, table

# The lines between which docs/performance.md has the tables.
MARKS = "<!-- measured: references -->", "<!-- end of measured: references -->"
KONTEXT = MODELS["Flux Kontext"]
HALF = torch.zeros(1, *SIZE)
HALF[..., : SIZE[1] // 2] = 1
WEIGHED: dict[str, tuple[dict[str, Any], int]] = {  # inputs of the node, and references in the bare run beside
    "weight 1": ({}, 2),
    "weight 0": ({"weight": 0.0}, 0),
    "weight 0 of the last of two": ({"weight": 0.0, "reference": 2}, 1),
    "weight 0 of the first of two": ({"weight": 0.0, "reference": 1}, 2),
    "a weight between": ({"weight": 0.5}, 2),
    "a mask": ({"weight": 0.5, "mask": HALF}, 2),
}
RIDING: dict[str, dict[str, Any]] = {
    "weight 0": {"weight": 0.0},
    "weight 1": {},
    "a weight between": {"weight": 0.7},
    "a mask": {"mask": half_mask()},
    "compete, a weight between": {"weight": 0.5, "competes": True},
}
Costs = dict[str, dict[str, float]]


def count_weighed() -> Costs:
    """What the last run of a tiny Flux Kontext costs in a layer, over a bare run with as many references."""
    bare = {count: _run(model_of(KONTEXT), count) for count in (0, 1, 2)}
    costs: Costs = {}
    for name, (inputs, beside) in WEIGHED.items():
        weighed = {"reference": 0, "weight": 1.0, "start_at": 0.0, "end_at": 1.0} | inputs
        model = weigh_references(model_of(KONTEXT), **weighed)
        costs[name] = _added(_run(model, 2), bare[beside], KONTEXT.layers)
        costs[name]["bytes kept"] = bytes_of_biases(model)
    return costs


def bytes_of_biases(model: ModelPatcher) -> float:
    """Bytes of the biases that a model holds while it samples."""
    rider = rider_of(model, ReferenceWeights)
    assert rider is not None
    with patch.object(ReferenceWeights, "cleanup", lambda self: None):
        _sample_kontext(model, 2)
    kept = tensor_bytes(rider.plans.biases())
    rider.cleanup()
    return kept


def count_riding() -> Costs:
    """What the last run of a tiny SD1.5 costs in a layer, over a bare run, beside the run on the reference."""
    rig = Rig("sd15")
    latent = {"samples": seeded((1, 4, 8, 8), 11)}
    bare = rig.bare()
    plain = operations(bare, rig.sample)[-1][1], python_calls(bare, rig.sample)
    costs: Costs = {}
    for name, inputs in RIDING.items():
        model = ride_along(rig.bare(), latent, None, Looks(**{"layers": "all"} | inputs))
        costs[name] = _added((operations(model, rig.sample)[-1][1], python_calls(model, rig.sample)), plain, rig.layers)
        rider = rider_of(model, Ride)
        assert rider is not None
        with patch.object(Ride, "cleanup", lambda self: None):
            rig.sample(model)
        costs[name]["bytes kept"] = sum(tensor_bytes(captured) for _, captured in rider.kept.values())
    return costs


def count_all() -> dict[str, Costs]:
    """Both, on PyTorch's attention."""
    with (
        patch.object(host_attention, "optimized_attention", host_attention.attention_pytorch),
        patch.object(flux_math, "optimized_attention", host_attention.attention_pytorch),
    ):
        return {"weighed": count_weighed(), "riding": count_riding()}


def _sample_kontext(model: ModelPatcher, references: int) -> Any:
    return sample(model, KONTEXT, [KONTEXT.latent(11), KONTEXT.latent(12, OTHER)][:references])


def _run(model: ModelPatcher, references: int) -> tuple[Any, int]:
    def run(model: ModelPatcher) -> Any:
        return _sample_kontext(model, references)

    return operations(model, run)[-1][1], python_calls(model, run)


def _added(found: tuple[Any, int], bare: tuple[Any, int], layers: int) -> dict[str, float]:
    (counts, calls), (bare_counts, bare_calls) = found, bare
    return {
        "operations": (total(counts) - total(bare_counts)) / layers,
        "Python calls": round((calls - bare_calls) / layers, 1),
        "host reads": host_reads(counts) - host_reads(bare_counts),
    }


def tables(costs: dict[str, Costs]) -> str:
    """The costs of both as Markdown; the bytes kept are those of the tiny models and stand in the JSON alone."""
    columns = ("operations", "Python calls", "host reads")
    return "\n\n".join(
        table({name: {column: row[column] for column in columns} for name, row in costs[part].items()}, title, 1)
        for part, title in {
            "weighed": "IPAdapter Reference Weights: added to a block of Flux Kontext",
            "riding": "IPAdapter Reference Attention: added to a layer of SD1.5",
        }.items()
    )


def report(commit: bool, folder: Path) -> None:
    """Count, print and keep the costs; with `commit`, the tables are put into docs/performance.md."""
    costs = count_all()
    (folder / "performance_references.json").write_text(json.dumps(costs, indent=1) + "\n")
    print(text := tables(costs))
    if commit:
        put_between_marks(Path(__file__).parents[1] / "docs" / "performance.md", text, MARKS)

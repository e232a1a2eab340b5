"""A graph gives the same bits whatever ran before it.

Each day has graphs of its own. A failure names its seed: ATELIER_GRAPHS=20261201 draws the graphs of that day again.
"""

import os
from datetime import datetime, timezone

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.ldm.modules.attention as host_attention

from pack.nodes.applying.caches import forget
from trust.graphs import VARIANTS, Bench, Step, apply_nodes, bare_model, random_graph, run_cold

Graph = tuple[str, list[Step]]
DAY = int(os.environ.get("ATELIER_GRAPHS") or datetime.now(timezone.utc).strftime("%Y%m%d"))
COUNT = 30


def graphs_of(day: int) -> list[Graph]:
    """Random graphs, and more of them until every apply node is in one."""
    graphs, seed = [], 1000 * day
    while len(graphs) < COUNT or {node for _, steps in graphs for node, _ in steps} != set(apply_nodes()):
        graphs.append(random_graph(seed + len(graphs)))
    return graphs


GRAPHS = graphs_of(DAY)


def test_random_graphs_of_every_apply_node_give_the_same_bits_warm_and_cold(monkeypatch):
    # As on the tests' server: sub-quadratic attention, the default on a bare CPU, takes longer to look for free memory
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    print(f"ATELIER_GRAPHS={DAY}, {len(GRAPHS)} graphs")  # pytest shows it where the test fails
    assert len(apply_nodes()) >= 15
    before = torch.get_rng_state()
    forget()
    bench = Bench()
    warm = [bench.run(graph) for graph in GRAPHS]  # each finds what those before it left in caches and on the model
    assert torch.get_rng_state().equal(before)
    latents, acting, bare = 0, 0, bare_model()
    alone = Bench(bare.clone()).run((VARIANTS[0], []))
    assert torch.is_tensor(alone)
    for number in reversed(range(len(GRAPHS))):  # what a graph left on the bare model shows: here, others came before
        cold, found = run_cold(GRAPHS[number], bare), warm[number]
        if isinstance(cold, str):
            assert found == cold, number
        else:
            latents += 1
            acting += not cold.equal(alone)
            assert torch.is_tensor(found) and found.equal(cold), (number, GRAPHS[number])
    # Others are refused, a start behind its end say, or have no weight: a fifth of a hundred at most.
    assert min(latents, acting) >= 0.6 * len(GRAPHS)
    forget()
    new = bare_model().model.state_dict()
    for used in (bench.model.model.state_dict(), bare.model.state_dict()):
        assert used.keys() == new.keys() and all(used[name].equal(new[name]) for name in new)

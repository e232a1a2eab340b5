"""A graph gives the same bits whatever ran before it."""

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from pack.nodes.applying.caches import forget
from trust.graphs import Bench, apply_nodes, random_graph, run_cold

GRAPHS = [random_graph(seed) for seed in range(100)]


def test_every_apply_node_is_in_some_graph():
    assert {node for _, steps in GRAPHS for node, _ in steps} == set(apply_nodes())
    assert len(apply_nodes()) >= 15


def test_a_hundred_random_graphs_give_the_same_bits_warm_and_cold():
    before = torch.get_rng_state()
    forget()
    bench = Bench()
    warm = [bench.run(graph) for graph in GRAPHS]  # each finds what those before it left in caches and on the model
    assert torch.get_rng_state().equal(before)
    latents = 0
    for number, (graph, found) in enumerate(zip(GRAPHS, warm, strict=True)):
        cold = run_cold(graph)
        if isinstance(cold, str):
            assert found == cold, number
        else:
            latents += 1
            assert torch.is_tensor(found) and found.equal(cold), (number, graph)
    assert latents >= 80  # the others are refused, a start behind its end say
    forget()

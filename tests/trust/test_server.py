"""Interrupts, cache modes and many clients: nothing is lost, mixed up or left half done."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from torch import Tensor

from harness.client import Client
from harness.graph import Graph
from harness.sampling import apply, sample

LONG = 400  # steps of a run that is interrupted


def picture_of(seed: int, steps: int = 2, weight: float = 0.8) -> Graph:
    """Two references on a model, sampled."""
    g = Graph()
    model = g.add("TestModel", family="sd15", seed=1)
    mask = g.add("SolidMask", value=0.5, width=64, height=64)
    first = apply(g, model[0], image=seed, weight=weight)
    second = apply(g, first[0], image=seed + 100, weight=0.5, attn_mask=mask[0], end_at=0.7)
    g.save("latent", sample(g, second[0], steps=steps)[0])
    return g


def latent(server: Client, *args: Any, **more: Any) -> Tensor:
    return server.run(picture_of(*args, **more)).tensor("latent")


@pytest.fixture(scope="module")
def expected(server) -> dict[int, Tensor]:
    """Each alone, with nothing kept."""
    found = {}
    for seed in range(6):
        server.forget()
        found[seed] = latent(server, seed)
    return found


def test_a_run_that_was_interrupted_leaves_nothing_behind(server, expected):
    stopped = 0
    for wait in (0.05, 0.2, 0.4, 0.6):
        id = server.submit(picture_of(1, steps=LONG, weight=0.8 + wait).prompt)
        while not server.call("/queue")["queue_running"]:
            time.sleep(0.01)
        time.sleep(wait)
        server.call("/interrupt", {})
        entry = server.wait(id, 120)
        stopped += any(kind == "execution_interrupted" for kind, _ in entry["status"]["messages"])
        assert latent(server, 1).equal(expected[1])
    assert stopped >= 3  # one may be done before it is heard


def test_six_clients_at_once_each_get_their_own_picture(server, expected):
    with ThreadPoolExecutor(6) as clients:
        seeds = [number % 6 for number in range(18)]
        found = list(clients.map(lambda seed: latent(server, seed), seeds))
    assert all(one.equal(expected[seed]) for one, seed in zip(found, seeds, strict=True))


# The server that all is compared with runs with --cache-classic.
# "100000": GB that are to stay free, so that whatever may be given up is given up while a graph runs
@pytest.mark.parametrize("flags", [("--cache-none",), ("--cache-lru", "3"), ("--cache-ram", "100000")], ids=" ".join)
def test_every_way_of_caching_gives_the_same_pictures(start_server, expected, flags):
    server = start_server(*flags)
    for seed in (0, 1, 0, 2, 1):
        assert latent(server, seed).equal(expected[seed])
    assert not latent(server, 1, weight=0.3).equal(expected[1])

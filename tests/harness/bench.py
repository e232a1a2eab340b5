"""python atelier.py bench: what an image prompt costs while sampling, in a ComfyUI server with small models on the CPU.

Seconds for sampling the same latent; best of three, each with another seed so that nothing comes from ComfyUI's cache.
"""

import argparse
import time
from typing import Any

import synthetic

from .assets import SD15
from .graph import Graph, Node
from .sampling import Link, apply, sample
from .server import Server

RUNS = 3
CHANNELS = 64
FILE = "wide_sd15.safetensors"


def graph(prompts: int, family: str, file: str, size: int, steps: int) -> tuple[Graph, Node, list[Node]]:
    g = Graph()
    model: Link = g.add("TestModel", family=family, seed=1, channels=CHANNELS)[0]
    applied = []
    for seed in range(prompts):
        applied.append(apply(g, model, seed + 1, file))
        model = applied[-1][0]
    sampler = sample(g, model, family, (size, size), steps=steps)
    g.save("latent", sampler[0])
    return g, sampler, applied


def seconds(server: Server, g: Graph) -> float:
    start = time.perf_counter()
    server.run(g)
    return time.perf_counter() - start


def measure(server: Server, prompts: int, size: int, steps: int) -> tuple[float, float]:
    """Seconds of a run with another sampling seed, and seconds more when the weight changes too."""
    g, sampler, applied = graph(prompts, "sd15", FILE, size, steps)
    server.run(g)
    plain, changed = [], []
    for run in range(RUNS):
        sampler.set(seed=100 + run)
        plain.append(seconds(server, g))
        sampler.set(seed=200 + run)
        for node in applied:
            node.set(weight=0.5 + run / 10)
        changed.append(seconds(server, g))
    return min(plain), min(changed) - min(plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    with Server() as server:
        sizes: dict[str, Any] = SD15 | {"channels": synthetic.sd15_channels(CHANNELS)}
        synthetic.save(synthetic.adapter("standard", **sizes), server.base / "models" / "ipadapter" / FILE)
        print(f"SD1.5-shaped UNet of {CHANNELS} channels, {options.size} pixels, {options.steps} steps, CPU")
        print("image prompts   seconds a run   against none   more when the weight changed")
        none = 0.0
        for prompts in (0, 1, 2, 4):
            plain, more = measure(server, prompts, options.size, options.steps)
            none = none or plain
            print(f"{prompts:13d}   {plain:13.2f}   {plain / none:12.2f}   {more:+.2f}", flush=True)


if __name__ == "__main__":
    main()

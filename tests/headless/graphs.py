"""The demo's graph with a Load Image node: a run takes a tenth of a second. Pictures and a broken picture as input."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demo_models.config import SIZE
from harness.demo_graph import APPLY, SAMPLER
from harness.graph import Graph

WORDS = ["house", "fish", "tree"]


def graph(steps: int = 2) -> dict[str, dict[str, Any]]:
    g = Graph()
    models = g.add("IPAdapterDemoLoader", adapter="standard")
    picture = g.add("LoadImage", image="nothing.png")
    links = {"model": models[0], "ipadapter": models[2], "clip_vision": models[1], "image": picture[0]}
    model = g.add("IPAdapterAdvanced", **(APPLY | links))
    positive, negative = (g.add("IPAdapterDemoPrompt", words=words) for words in ("house", ""))
    canvas = g.add("EmptyLatentImage", width=SIZE, height=SIZE, batch_size=1)
    links = {"model": model[0], "positive": positive[0], "negative": negative[0], "latent_image": canvas[0]}
    sampled = g.add("KSampler", **(SAMPLER | links | {"seed": 1, "steps": steps}))
    pixels = g.add("VAEDecode", samples=sampled[0], vae=models[3])
    g.add("SaveImage", images=pixels[0], filename_prefix="batch")
    positive.entry["_meta"]["title"] = "What to draw"
    return g.prompt


def write_pictures(folder: Path, colours: list[str]) -> list[str]:
    """Write a plain picture for each colour; their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    for colour in colours:
        Image.new("RGB", (64, 64), colour).save(folder / f"{colour}.png")
    return [f"{colour}.png" for colour in colours]


def write_broken(file: Path) -> None:
    """Write a WebP with a sound header and broken pixels. Every ComfyUI refuses it; some load a broken PNG as black."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, lossless=True)
    whole = file.read_bytes()
    file.write_bytes(whole[:64] + b"\xff" * (len(whole) - 64))

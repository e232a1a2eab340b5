"""A study of weights with the demo's models, in cells: python scripts/headless_study.py

Run it with the launcher's Python (.venv/bin/python), or with a Python that has ComfyUI's packages and pyarrow.
"""

# %% The graph: words, a reference, a weight. Export (API) in ComfyUI's menu writes the same.
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("COMFYUI_PATH", str(ROOT / ".cache" / "comfyui-0.30.0"))  # where atelier.py puts ComfyUI

from headless import run_batch  # noqa: E402

graph = {
    "1": {"class_type": "IPAdapterDemoLoader", "inputs": {"adapter": "plus"}},
    "2": {"class_type": "IPAdapterDemoReference", "inputs": {"picture": "red on strokes"}},
    "3": {
        "class_type": "IPAdapterAdvanced",
        "inputs": {
            "model": ["1", 0], "clip_vision": ["1", 1], "ipadapter": ["1", 2], "image": ["2", 0], "weight": 0.8,
            "weight_type": "linear", "combine_embeds": "concat", "start_at": 0.0, "end_at": 1.0,
            "embeds_scaling": "V only",
        },
    },
    "4": {"class_type": "IPAdapterDemoPrompt", "inputs": {"words": "house"}},
    "5": {"class_type": "IPAdapterDemoPrompt", "inputs": {"words": ""}},
    "6": {"class_type": "EmptyLatentImage", "inputs": {"width": 96, "height": 96, "batch_size": 1}},
    "7": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["3", 0], "positive": ["4", 0], "negative": ["5", 0], "latent_image": ["6", 0], "seed": 5,
            "steps": 16, "cfg": 1.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
        },
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 3]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "study"}},
}  # fmt: skip

# %% Every reference at every weight, on a ComfyUI that this call starts.
references = sorted(file.stem for file in (ROOT / "demo_models" / "references").glob("*.png"))
report = run_batch(
    graph, None, ROOT / "output" / "study", grid={"picture": references, "weight": [0.0, 0.3, 0.6, 0.9, 1.2]}
)

# %% The results: a sheet with labelled axes, and a table for pandas, polars or DuckDB.
print(f"{len(report.outcomes)} pictures, {len(report.failed)} failed: {report.sheet}, {report.table}")

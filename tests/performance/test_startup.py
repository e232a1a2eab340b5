"""Starting ComfyUI with this pack: no face recogniser, no second vision library, nothing that waits for its use."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

TESTS = Path(__file__).parents[1]
LOAD = """
import asyncio, sys, time
import conftest, nodes, server, comfy_api.latest  # what ComfyUI has imported before it loads packs
before = set(sys.modules)
start = time.perf_counter()
extension = asyncio.run(sys.modules["pack"].comfy_entrypoint())
asyncio.run(extension.on_load())
count = len(asyncio.run(extension.get_node_list()))
seconds = time.perf_counter() - start
print(seconds, count, *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def load_pack() -> tuple[float, int, set[str]]:
    """Seconds, nodes, and the top-level modules that loading the pack brought into a ComfyUI that is imported already."""
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=TESTS, capture_output=True, text=True, check=True)
    seconds, count, *modules = done.stdout.splitlines()[-1].split()
    return float(seconds), int(count), set(modules)


def test_loading_the_pack_imports_nothing_but_the_pack():
    _, count, modules = load_pack()
    assert count > 30
    assert modules == {"pack"}

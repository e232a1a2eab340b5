"""What loading the pack adds to a ComfyUI that has imported its own modules already."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
LOAD = """
import asyncio, sys, time
import conftest, nodes, server, comfy_api.latest, comfy_api.torch_helpers  # as before any pack
before = set(sys.modules)
start = time.perf_counter()
extension = asyncio.run(sys.modules["pack"].comfy_entrypoint())
asyncio.run(extension.on_load())
count = len(asyncio.run(extension.get_node_list()))
seconds = time.perf_counter() - start
print(seconds, count, *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def load_pack() -> tuple[float, int, set[str]]:
    """Seconds, nodes, and the top-level modules that loading the pack brought into an imported ComfyUI."""
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=TESTS, capture_output=True, text=True, check=True)
    seconds, count, *modules = done.stdout.splitlines()[-1].split()
    return float(seconds), int(count), set(modules)

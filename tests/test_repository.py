"""The folder as ComfyUI and users meet it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_importing_the_folder_needs_neither_comfyui_nor_torch():
    code = (
        "import importlib.util, sys; s = importlib.util.spec_from_file_location('p', '__init__.py');"
        "m = importlib.util.module_from_spec(s); s.loader.exec_module(m); assert callable(m.comfy_entrypoint);"
        "assert not {'comfy', 'torch', 'comfy_api'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

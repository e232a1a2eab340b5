"""Make the pack importable as `pack`, whatever its folder is called, and offer a running ComfyUI as `server`."""

import importlib.util
import logging
import sys
from pathlib import Path

from harness.host import find_comfyui

ROOT = Path(__file__).parents[1]
logging.getLogger("torch.__trace").setLevel(logging.ERROR)  # pytest would have torch write down all that it compiles
pytest_plugins = ["harness.fixtures"]

if host := find_comfyui():
    sys.path.insert(0, str(host))  # ahead of this folder, whose nodes/ would shadow ComfyUI's nodes.py
    import utils.extra_config  # noqa: F401  # as main.py does, before nodes.py puts comfy/utils.py ahead of it
    from comfy.cli_args import args

    args.cpu = True  # before anything imports comfy.model_management, which looks for a GPU

if "pack" not in sys.modules:  # pytest has its own name for this file, and a second pack would have lost its modules
    spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py")
    assert spec and spec.loader
    sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pack"])

"""python atelier.py doctor | fetch: about the models of a ComfyUI on this machine. No package is installed for it."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from .comfyui import COMFYUI
from .common import CACHE, ROOT, VENV, run


def look_after_models(task: str, named: str | None, rest: list[str]) -> None:
    """Run `terminal` for the ComfyUI that is named, or for the one around this pack."""
    run_beside("terminal", [task, *rest, "--comfyui-path", str(folder_of(named))])


def folder_of(named: str | None) -> Path:
    """The folder of a ComfyUI by its release or path; without one: $COMFYUI_PATH, or the ComfyUI around this pack."""
    if named in COMFYUI:
        folder = CACHE / f"comfyui-{named}"
    else:
        path = named or os.environ.get("COMFYUI_PATH")
        folder = Path(path).resolve() if path else ROOT.parents[1]
    if not (folder / "main.py").is_file() or not (folder / "folder_paths.py").is_file():
        raise SystemExit(f"There is no ComfyUI in {folder}: name its folder with --comfyui PATH.")
    return folder


def run_beside(module: str, arguments: list[str]) -> None:
    """Run a module of this checkout with a Python that has torch: this one, else that of .venv."""
    pythons = [Path(sys.executable)] if all(map(find_spec, ("torch", "safetensors", "yaml"))) else []
    if not (pythons := [*pythons, *([VENV.python] if VENV.python.exists() else [])]):
        raise SystemExit(
            "This Python has no torch. Run it with the Python that runs ComfyUI, in the portable version "
            r"python_embeded\python.exe, so that what it says of insightface is true of ComfyUI."
        )
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    run(pythons[0], "-m", module, *arguments, env=environment, cwd=Path.cwd())


def check_host(named: str | None, rest: list[str]) -> None:
    """Say of a ComfyUI what of it the pack relies on and does not find: `host PATH`."""
    folder = folder_of(rest[0] if rest else named)
    run_beside("hosts", [str(folder), *rest[1:]])

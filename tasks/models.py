"""python atelier.py doctor | fetch | host: about a ComfyUI on this machine. No package is installed for it."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from .comfyui import COMFYUI
from .common import CACHE, ROOT, VENV, run


def look_after_models(task: str, named: str | None, rest: list[str]) -> None:
    """Run `terminal` for the ComfyUI that is named, or for the one around this pack."""
    run_terminal(python_with_torch(), task, *rest, "--comfyui-path", folder_of(named))


def check_host(named: str | None, rest: list[str]) -> None:
    """Say of a ComfyUI what of it the pack relies on and does not find: `host PATH`. Any Python will do."""
    run_terminal(Path(sys.executable), "host", "--comfyui-path", folder_of(rest[0] if rest else named))


def folder_of(named: str | None) -> Path:
    """The folder of a ComfyUI by its release or path; without one: $COMFYUI_PATH, or the ComfyUI around this pack."""
    if named in COMFYUI:
        folder = CACHE / f"comfyui-{named}"
    else:
        path = named or os.environ.get("COMFYUI_PATH")
        folder = Path(path).resolve() if path else ROOT.parents[1]
    if not (folder / "main.py").is_file() or not (folder / "folder_paths.py").is_file():
        raise SystemExit(f"There is no ComfyUI in {folder}: name its folder by host PATH or --comfyui PATH.")
    return folder


def python_with_torch() -> Path:
    """The Python of a ComfyUI: this one, else that of .venv."""
    pythons = [Path(sys.executable)] if all(map(find_spec, ("torch", "safetensors", "yaml"))) else []
    if not (pythons := [*pythons, *([VENV.python] if VENV.python.exists() else [])]):
        raise SystemExit(
            "This Python has no torch. Run it with the Python that runs ComfyUI, in the portable version "
            r"python_embeded\python.exe, so that what it says of insightface is true of ComfyUI."
        )
    return pythons[0]


def run_terminal(python: Path, *arguments: str | Path) -> None:
    """Run `terminal` with a Python that may ignore PYTHONPATH, as the one of ComfyUI's portable version does."""
    code = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_module('terminal', run_name='__main__')"
    run(python, "-c", code, *arguments, env=dict(os.environ) | {"PYTHONUTF8": "1"}, cwd=Path.cwd())

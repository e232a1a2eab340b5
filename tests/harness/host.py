"""Where ComfyUI is."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
HINT = "No ComfyUI found. Set COMFYUI_PATH to a ComfyUI folder, or run: python atelier.py test"


def find_comfyui() -> Path | None:
    """The ComfyUI named by COMFYUI_PATH, else the one this pack is installed in, else the newest one in .cache/."""
    if named := os.environ.get("COMFYUI_PATH"):
        path = Path(named).resolve()
        if not (path / "main.py").is_file():
            raise FileNotFoundError(f"COMFYUI_PATH is {named}, but there is no main.py in that folder.")
        return path
    places = [ROOT.parents[1], *sorted((ROOT / ".cache").glob("comfyui-*"), reverse=True)]
    return next((p for p in places if (p / "main.py").is_file() and (p / "comfy").is_dir()), None)


def front_end() -> tuple[str, ...]:
    """The options of ComfyUI that serve the page of $ATELIER_FRONT_END, the `static` folder of an unpacked package
    comfyui_frontend_package; none without it, which is the installed front end.
    """
    if not (named := os.environ.get("ATELIER_FRONT_END")):
        return ()
    page = Path(named).resolve()
    if not (page / "index.html").is_file():
        raise FileNotFoundError(f"ATELIER_FRONT_END is {named}, but there is no index.html in that folder.")
    return ("--front-end-root", str(page))

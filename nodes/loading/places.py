"""Where ComfyUI looks for models: its own folders and those of extra_model_paths.yaml."""

from pathlib import Path

import folder_paths

from .face_packs import FOLDER, face_roots

NO_MODELS = ("custom_nodes", "configs", "classifiers")


def model_places() -> dict[str, list[Path]]:
    """The places of every model folder, by ComfyUI's name of it."""
    known = {name: entry[0] for name, entry in folder_paths.folder_names_and_paths.items() if name not in NO_MODELS}
    return {name: [Path(place) for place in places] for name, places in known.items()} | {FOLDER: face_roots()}


def forget_files() -> None:
    """Make ComfyUI read its folders again the next time somebody asks which files there are."""
    folder_paths.filename_list_cache.clear()

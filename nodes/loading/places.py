"""The paths of ComfyUI's model folders: its own and those of extra_model_paths.yaml."""

from pathlib import Path

import folder_paths

from ...ipadapter.model_folders import with_other_folders
from .face_packs import FOLDER, face_roots

NO_MODELS = ("custom_nodes", "configs", "classifiers")


def model_places() -> dict[str, list[Path]]:
    """The paths of every model folder by ComfyUI's name, and of the folders in which other packs store adapters."""
    known = {name: entry[0] for name, entry in folder_paths.folder_names_and_paths.items() if name not in NO_MODELS}
    places = {name: [Path(place) for place in folders] for name, folders in known.items()}
    return with_other_folders(places, Path(folder_paths.models_dir)) | {FOLDER: face_roots()}


def forget_files() -> None:
    """Clear ComfyUI's cache of file names, so that it reads the folders again."""
    folder_paths.filename_list_cache.clear()

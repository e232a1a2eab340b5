"""The places on the disk of ComfyUI's model folders: its own and those of extra_model_paths.yaml."""

from pathlib import Path

import folder_paths

from ...ipadapter.model_folders import with_other_folders
from .face_packs import FOLDER, face_roots

NO_MODELS = ("custom_nodes", "configs", "classifiers")


def model_places() -> dict[str, list[Path]]:
    """The places of every model folder by ComfyUI's name, with the folders in which other packs keep adapters."""
    known = {name: entry[0] for name, entry in folder_paths.folder_names_and_paths.items() if name not in NO_MODELS}
    places = {name: [Path(place) for place in folders] for name, folders in known.items()}
    return with_other_folders(places, Path(folder_paths.models_dir)) | {FOLDER: face_roots()}


def forget_files() -> None:
    """Make ComfyUI read its folders again the next time that it lists files."""
    folder_paths.filename_list_cache.clear()

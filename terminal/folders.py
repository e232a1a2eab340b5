"""The model folders of a ComfyUI that does not run: its own list, and extra_model_paths.yaml by its own code."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

OWN = ("ipadapter", "open_clip")  # folders that this pack registers when ComfyUI loads it
FACES = "insightface"


def model_places(comfyui: Path, extra: Sequence[Path] = ()) -> dict[str, list[Path]]:
    """The places of every model folder, by ComfyUI's name of it, with the folders in which other packs keep adapters.

    `extra` are further files of model paths. The pack has to be importable as `pack`.
    """
    sys.path.insert(0, str(comfyui))
    arguments, sys.argv = sys.argv, sys.argv[:1]  # ComfyUI's modules look at the command line
    try:
        import folder_paths
        from utils.extra_config import load_extra_path_config
    finally:
        sys.argv = arguments
    logging.getLogger().setLevel(logging.WARNING)
    for file in (comfyui / "extra_model_paths.yaml", *extra):
        if file.is_file():
            load_extra_path_config(str(file))
    from pack.ipadapter.model_folders import with_other_folders

    models = Path(folder_paths.models_dir)
    known = folder_paths.folder_names_and_paths.items()
    places = {name: [Path(place) for place in entry[0]] for name, entry in known if name != "custom_nodes"}
    for name in (*OWN, FACES):
        named = places.setdefault(name, [])
        if models / name not in named:
            named.append(models / name)
    return with_other_folders(places, models)

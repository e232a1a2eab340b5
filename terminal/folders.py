"""Read the model folders of a ComfyUI that does not run, with ComfyUI's own modules."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

OWN = ("ipadapter", "open_clip", "instantid", "pulid", "facexlib")  # registered by this pack when ComfyUI loads it
FACES = "insightface"


def model_places(comfyui: Path, extra: Sequence[Path] = ()) -> dict[str, list[Path]]:
    """The paths of every model folder, by ComfyUI's name of the folder, with the folders of other packs for adapters.

    They come from the folder `comfyui`, its extra_model_paths.yaml, and further such files in `extra`. The pack must be
    importable as `pack` (load_pack).
    """
    sys.path.insert(0, str(comfyui))
    arguments, sys.argv = sys.argv, sys.argv[:1]  # ComfyUI's modules parse the command line
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

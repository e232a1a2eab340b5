"""The model folder that adapters live in."""

from pathlib import Path

import folder_paths

from ...ipadapter.names import inside

ADAPTERS = "ipadapter"


def register_adapter_folder() -> None:
    """Offer `models/ipadapter` to ComfyUI, beside any folder that the user's extra model paths already name."""
    default = str(Path(folder_paths.models_dir) / ADAPTERS)
    folders, extensions = folder_paths.folder_names_and_paths.get(ADAPTERS, ([], set()))
    present = folders if default in folders else [*folders, default]
    folder_paths.folder_names_and_paths[ADAPTERS] = (present, set(extensions) | folder_paths.supported_pt_extensions)


def adapter_files() -> list[str]:
    """Every adapter file, without the `._` files that macOS leaves on shared drives."""
    return [name for name in folder_paths.get_filename_list(ADAPTERS) if not Path(name).name.startswith("._")]


def adapter_path(name: str) -> Path:
    """Where an adapter file lies; FileNotFoundError names the folders that were searched."""
    path = model_file(ADAPTERS, name)
    if path is None:
        raise FileNotFoundError(f"No adapter {name!r:.80} in {' or '.join(folder_paths.get_folder_paths(ADAPTERS))}.")
    return path


def model_file(folder: str, name: str) -> Path | None:
    """The file of that name in any of the places of a model folder; no folders, pipes or links to nowhere."""
    paths = (inside(Path(place), name) for place in folder_paths.get_folder_paths(folder))
    return next((path for path in paths if path.is_file()), None)

"""Files of embeds: saved in ComfyUI's output folder, listed from there and from its input folder."""

from pathlib import Path

import folder_paths
from torch import Tensor

from ...ipadapter.embeds_file import SUFFIX, SUFFIXES, save_embeds
from ...ipadapter.errors import FileNameError
from ...ipadapter.names import inside

Index = tuple[list[str], dict[str, float]]  # the files' paths below a folder, and the time of change of each subfolder
_INDEX: dict[str, Index] = {}
OUTPUT_MARK = " [output]"  # ComfyUI's own mark of a listed file that lies in the output folder
NONE_SAVED = "no embeds saved yet"  # the only option without files: a graph with an empty list could not be queued


def saved_embeds() -> list[str]:
    """Every embeds file, those of the input folder first. Folders are read again only after one of them has changed."""
    inputs = _files_below(folder_paths.get_input_directory())
    outputs = _files_below(folder_paths.get_output_directory())
    return inputs + [name + OUTPUT_MARK for name in outputs] or [NONE_SAVED]


def embeds_path(name: str) -> Path:
    """The file of a listed name.

    Raises:
        FileNameError: the name leads out of its folder, or is not the name of an embeds file.
        FileNotFoundError: the file does not exist, or no longer.
    """
    if name == NONE_SAVED:
        raise FileNotFoundError(
            "No embeds were saved yet: run an IPAdapter Save Embeds node, press R, and choose the file here."
        )
    in_output = name.endswith(OUTPUT_MARK)
    folder = folder_paths.get_output_directory() if in_output else folder_paths.get_input_directory()
    path = inside(Path(folder), name.removesuffix(OUTPUT_MARK))
    if not path.name.endswith(SUFFIXES):
        raise FileNameError(f"{name!r:.80} is no embeds file: their names end in {' or '.join(SUFFIXES)}.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no embeds file {path}. Refresh the node's list and choose another one.")
    return path


def save_numbered(embeds: Tensor, prefix: str) -> str:
    """Save embeds under the next free number; returns the name of the file in a loader's list."""
    root = Path(folder_paths.get_output_directory())
    check_prefix(prefix)
    folder, name, number, _, _ = folder_paths.get_save_image_path(prefix, str(root))
    path = Path(folder) / numbered(name, number)
    save_embeds(embeds, path)
    return path.relative_to(root).as_posix() + OUTPUT_MARK


def check_prefix(prefix: str) -> None:
    """FileNameError if no file in the output folder can have a name that begins with `prefix`."""
    root = Path(folder_paths.get_output_directory())
    inside(root, prefix)
    inside(root, numbered(prefix, 1))


def numbered(prefix: str, number: int) -> str:
    return f"{prefix}_{number:05}_{SUFFIX}"


def _files_below(folder: str) -> list[str]:
    files, changed = _INDEX.get(folder, ([], {}))
    if not changed or any(_changed_at(part) != when for part, when in changed.items()):
        found, changed = folder_paths.recursive_search(folder)
        files = sorted(Path(name).as_posix() for name in found if name.endswith(SUFFIXES))
        _INDEX[folder] = files, changed
    return [name for name in files if Path(folder, name).is_file()]  # without broken links


def _changed_at(folder: str) -> float | None:
    path = Path(folder)
    return path.stat().st_mtime if path.is_dir() else None

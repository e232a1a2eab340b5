"""Names that come from outside and become files: each is checked here, where it meets the disk, and nowhere else."""

import re
from pathlib import Path

from .errors import FileNameError

LONGEST_PART, LONGEST = 255, 1000  # bytes that file systems take
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def inside(folder: Path, name: str, plain: bool = False) -> Path:
    """Where a name lies below a folder; `plain` names lie in the folder itself.

    FileNameError for absolute names, names that lead out of the folder, and those that no file can have. Links below
    the folder are the owner's own and are followed.
    """
    parts = re.split(r"[/\\]", name) if isinstance(name, str) else []
    shown = f"{name!r:.80}"
    if not parts or parts[-1].strip() in ("", "."):
        raise FileNameError(f"{shown} is no file name. Choose a name inside {folder}.")
    if ".." in parts or not parts[0] or _DRIVE.match(name) or (plain and len(parts) > 1):
        raise FileNameError(f"{shown} leads out of {folder}. Choose a name inside that folder.")
    sizes = [len(part.encode(errors="replace")) for part in parts]
    if _CONTROL.search(name) or max(sizes) > LONGEST_PART or sum(sizes) + len(sizes) > LONGEST:
        raise FileNameError(
            f"{shown} cannot be a file's name: at most {LONGEST_PART} bytes a part, and no control characters. Choose "
            f"another name inside {folder}."
        )
    return folder / name

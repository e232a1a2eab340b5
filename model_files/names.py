"""Check the names of downloads: a file lands under a plain name, directly in its folder."""

import re
from pathlib import Path

from .errors import DownloadError

SUFFIXES = (".safetensors", ".bin", ".pth")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()\-]{0,149}")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows' devices, with any suffix
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")
_IN_REPOSITORY = re.compile(r"[\w+()\- ][\w.+()\- ]*(/[\w+()\- ][\w.+()\- ]*){0,9}")


def target(folder: Path, name: str) -> Path:
    """The path of a file or folder directly in `folder`.

    Raises:
        DownloadError: the name has characters other than letters, digits, spaces and . _ + - ( ), is a device of
            Windows, or is a link in the folder.
    """
    if not _PLAIN.fullmatch(name) or name.endswith((" ", ".")) or _WINDOWS.fullmatch(name):
        raise DownloadError(
            f"{_short(name)} is no file name that can be used: letters, digits, spaces and . _ + - ( ) only, "
            "and no folder."
        )
    path = folder / name
    if path.is_symlink() or path.resolve().parent != folder.resolve():
        raise DownloadError(f"{path} is a link. Downloads go into {folder} itself: remove the link first.")
    return path


def check_repository(repository: str, path: str) -> None:
    """Check that a repository is owner/name and `path` a plain path in it.

    Raises:
        DownloadError: either has another form.
    """
    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        raise DownloadError(f"{_short(repository)} is no repository: expected owner/name, such as h94/IP-Adapter.")
    if not _IN_REPOSITORY.fullmatch(path) or ".." in path:
        raise DownloadError(f"{_short(path)} is no path in a repository, such as models/ip-adapter_sd15.safetensors.")


def check_suffix(name: str, pickle_allowed: bool) -> None:
    """Check that a name ends in .safetensors, or in .bin or .pth where pickles are allowed; DownloadError otherwise."""
    if name.endswith(SUFFIXES if pickle_allowed else SUFFIXES[:1]):
        return
    raise DownloadError(
        f"{_short(name)} is not fetched: only .safetensors files are, and .bin and .pth files of repositories that "
        "publish nothing else and that this pack knows. Download it yourself if you trust where it comes from."
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")

"""Download a file to a temporary part, check the part, and rename it to the file's own name."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import DownloadError
from .formats import check_digest, check_format, digest
from .names import check_repository, check_suffix, target
from .remote import Remote, Wanted, explained, look_up
from .transfer import transfer

PARTS = ".atelier-parts"  # a folder beside the models, on the same disk for the rename; its files have the suffix .part
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
Watch = Callable[[int, int | None], None]  # (bytes on the disk, bytes in all); an exception in it stops the download


def fetch(wanted: Wanted, folder: Path, watch: Watch | None = None) -> Path:
    """Download a model file to `folder`, unless it exists there, and return its path.

    An interrupted download is continued. `watch` gets the progress in bytes.

    Raises:
        DownloadError: the name, repository or format is refused, the download fails, or its content is wrong. The file
            does not exist then, unless another file had its name before.
    """
    if not wanted.address:
        check_repository(wanted.repository, wanted.path)
    for name in (wanted.name, wanted.path):
        check_suffix(name, wanted.pickle_allowed)
    path = target(folder, wanted.name)
    return download(wanted, path, lambda part: check_format(part, wanted.name), watch)


def download(wanted: Wanted, path: Path, check: Callable[[Path], None], watch: Watch | None = None) -> Path:
    """Download to a `path` that `names.target` has checked, unless the published file exists there.

    `check` gets the complete part before it is renamed, and raises DownloadError for wrong content.

    Raises:
        DownloadError: as in `fetch`, or the disk is full.
    """
    remote = look_up(wanted)
    try:
        part = _part(path, remote)
        with _locked(part):
            if path.exists():
                _accept_present(path, remote)
            else:
                _transfer(wanted, remote, part, watch or (lambda done, whole: None))
                _check(part, wanted, remote, check)
                os.replace(part, path)
        _tidy(part)
    except OSError as error:
        if error.errno in FULL:
            raise DownloadError(f"The disk of {path.parent} is full. Free some space and run it again.") from error
        raise DownloadError(f"{wanted.name} cannot be written to {path.parent}: {error.strerror or error}.") from error
    return path


def _accept_present(path: Path, remote: Remote) -> None:
    if not path.is_file():
        raise DownloadError(f"{path} is there already, and is no file. Move it away first.")
    same_size = remote.size in (None, path.stat().st_size)
    if not same_size or (remote.digest and digest(path, git=len(remote.digest) == 40) != remote.digest):
        raise DownloadError(
            f"{path} is there already, and is not the published file: damaged, or another one. "
            "Nothing was changed: rename or remove it, then run this again."
        )


def _part(path: Path, remote: Remote) -> Path:
    folder = path.parent / PARTS
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(f"{path.name} {remote.identity}".encode()).hexdigest()[:24]
    return folder / f"{name}.part"


def _locked(part: Path) -> Any:
    from filelock import FileLock, Timeout  # a dependency of huggingface_hub and torch

    lock = FileLock(part.with_suffix(".lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout as error:
        raise DownloadError("This file is being fetched already. Wait for it, and run this again.") from error


def _tidy(part: Path) -> None:
    part.with_suffix(".lock").unlink(missing_ok=True)
    if not any(part.parent.iterdir()):
        part.parent.rmdir()


def _transfer(wanted: Wanted, remote: Remote, part: Path, watch: Watch) -> None:
    have = part.stat().st_size if part.exists() else 0
    if remote.size is not None and (free := shutil.disk_usage(part.parent).free) < remote.size - have:
        raise DownloadError(
            f"{wanted.name} needs {(remote.size - have) / 1e6:.0f} MB more, and the disk of {part.parent.parent} "
            f"has {free / 1e6:.0f} MB left. Free some space and run it again."
        )
    watch(have, remote.size)
    if not part.exists() or have != remote.size:
        with explained(wanted):
            transfer(remote.url, remote.headers, part, remote.size, lambda length: watch(length, remote.size))


def _check(part: Path, wanted: Wanted, remote: Remote, check: Callable[[Path], None]) -> None:
    """Check the hash and the format of a complete part; a wrong part is deleted, so that it is not continued."""
    try:
        if remote.digest is not None:
            check_digest(part, wanted.name, remote.digest)
        check(part)
    except DownloadError:
        part.unlink()
        raise

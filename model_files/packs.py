"""Download face packs, which are zip files of ONNX networks, and unpack them into their own folder."""

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from .errors import DownloadError
from .fetch import PARTS, Watch, download, fetch
from .formats import BLOCK
from .names import target
from .remote import Wanted

NETWORK = ".onnx"
MOST_FILES, MOST_BYTES = 32, 4 << 30  # limits for an unpacked pack; published packs have five networks, under 1 GB


def fetch_pack(wanted: Wanted, folder: Path, watch: Watch | None = None) -> Path:
    """Download and unpack a face pack into `folder` (insightface's models), unless it exists, and return its folder.

    Only the .onnx files of the zip are unpacked.

    Raises:
        DownloadError: as in `fetch`; the pack's folder is not created then.
    """
    pack = target(folder, wanted.name)
    if pack.is_dir() and any(pack.rglob(f"*{NETWORK}")):
        return pack
    if pack.exists():
        raise DownloadError(f"{pack} is there already, without any network in it. Remove it, and run this again.")
    parts = folder / PARTS
    archive = parts / f"{wanted.name}.zip"
    parts.mkdir(parents=True, exist_ok=True)
    download(wanted, archive, check_zip, watch)
    try:
        unpack(archive, pack)
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(_unpacked(archive), ignore_errors=True)
    if not any(parts.iterdir()):
        parts.rmdir()
    return pack


def fetch_any(wanted: Wanted, folder: Path, watch: Watch | None = None) -> Path:
    """Download a model file (`fetch`) or a face pack (`fetch_pack`) into `folder`, and return its path."""
    return (fetch_pack if wanted.zipped else fetch)(wanted, folder, watch)


def check_zip(path: Path) -> None:
    """Check that a file is a complete zip with networks in it.

    Raises:
        DownloadError: it is damaged, or `_networks` refuses it.
    """
    try:
        with zipfile.ZipFile(path) as files:
            for member in _networks(files).values():
                with files.open(member) as network:
                    while network.read(BLOCK):  # zipfile compares the checksum at the end
                        pass
    except DownloadError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DownloadError("The face pack was fetched, and thrown away: it is no whole zip file.") from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the networks of a zip to a temporary folder, and rename it to `folder` when all are complete.

    Raises:
        DownloadError: a network has another size than the zip's directory lists.
    """
    part = _unpacked(archive)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    with zipfile.ZipFile(archive) as files:
        for name, member in _networks(files).items():
            with files.open(member) as source, target(part, name).open("xb") as sink:
                shutil.copyfileobj(source, sink)
                if sink.tell() != member.file_size:
                    raise DownloadError(f"{archive.name} holds {name} in another size than it says.")
    os.replace(part, folder)


def _unpacked(archive: Path) -> Path:
    return archive.with_suffix(".unpacked")


def _networks(files: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The .onnx files of a zip, by name without folders; DownloadError for none, too many, too large or equal names."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in files.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/")).name
        if member.is_dir() or not name.lower().endswith(NETWORK):
            continue
        if stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG):  # skips links and devices
            if name in found:
                raise DownloadError(f"The face pack holds two files called {name}.")
            found[name] = member
    if not found:
        raise DownloadError("The face pack was fetched, and thrown away: it holds no .onnx network.")
    if len(found) > MOST_FILES or sum(member.file_size for member in found.values()) > MOST_BYTES:
        raise DownloadError("The face pack was fetched, and thrown away: unpacked it would be far too large.")
    return found

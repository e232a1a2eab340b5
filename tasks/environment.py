"""The Python environment of a task: made when it is first asked for, with what the task runs on and no more."""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from .common import CACHE, LOG, ROOT, VENV, Environment, say
from .installing import run_logged

LISTS = ROOT / "tests" / "requirements"
EVERYTHING = ROOT / "tests" / "requirements.txt"
# Lists of packages by task, beside ComfyUI's own; torch.txt is in all of them.
BY_TASK = {
    "demo": (),
    "draw": ("serve.txt",),
    "serve": ("serve.txt",),
    "batch": ("batch.txt",),
    "bench": ("batch.txt", "plots.txt"),
    "train": ("plots.txt",),
}
EXPECTED = 103 if platform.system() == "Linux" else 85  # packages of torch.txt and ComfyUI 0.30's list: a bar's guess


def lists_of(task: str, arguments: Sequence[str]) -> tuple[Path, ...]:
    """The lists of packages that a task runs on; a batch on a Ray cluster needs Ray too."""
    if task == "test":
        return (EVERYTHING,)
    ray = ("ray.txt",) if task == "batch" and any(part.split("=")[0] == "--ray" for part in arguments) else ()
    return tuple(LISTS / name for name in ("torch.txt", *BY_TASK[task], *ray))


def environment_of(checkout: Path | None) -> Environment:
    """This checkout's .venv; of its own for a ComfyUI that the user named, which may need other versions."""
    if checkout is None:
        return VENV
    digest = hashlib.sha256(str(checkout).encode()).hexdigest()[:8]
    return Environment(CACHE / "environments" / f"{checkout.name}-{digest}")


def make(environment: Environment) -> None:
    """Make the environment unless it is there; again where it was interrupted before it had what installs packages."""
    if environment.python.exists() and (shutil.which("uv") or any(environment.site_packages.glob("pip-*/RECORD"))):
        return
    began = time.monotonic()
    try:
        venv.create(environment.folder, with_pip=True, clear=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"Could not make {environment.folder} ({error}). On Debian and Ubuntu: apt install python3-venv"
        ) from error
    say(f"Python {platform.python_version()} environment: made in {time.monotonic() - began:.0f} s")


def install(environment: Environment, comfyui: Path, lists: Sequence[Path], own_versions: bool = False) -> None:
    """Install ComfyUI's list and those of a task, unless the stamp says that just these are there already.

    What other tasks asked for before is resolved with them, so that no version changes from task to task.

    Args:
        own_versions: leave the version of each package that ComfyUI names to ComfyUI, whatever our lists say
    """
    stamp = environment.folder / "installed.json"
    before: dict[str, str] = json.loads(stamp.read_text("utf-8")) if stamp.exists() else {}
    wanted = {"comfyui": _digest(comfyui / "requirements.txt")} | _digests(lists)
    if all(before.get(name) == digest for name, digest in wanted.items()):
        return
    earlier = [file for name in before if name not in wanted and (file := ROOT / name).is_file()]
    files = [*lists, *earlier]
    if own_versions:
        files = [relaxed(files, comfyui / "requirements.txt", environment.folder / "ours.txt")]
    stamp.unlink(missing_ok=True)
    options = [part for file in (*files, comfyui / "requirements.txt") for part in ("-r", file)]
    LOG.parent.mkdir(exist_ok=True)
    title = f"{'More packages' if before else 'PyTorch and packages'}, with {'uv' if shutil.which('uv') else 'pip'}"
    run_logged([*_installer(environment), *options], title, LOG, 0 if before else EXPECTED, environment)
    stamp.write_text(json.dumps(_digests(earlier) | wanted), "utf-8")


def _installer(environment: Environment) -> list[str | Path]:
    """uv where the user has it. Files are compiled when they are first imported, and most of them never are."""
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", environment.python]
    pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile", "--prefer-binary"]
    return [environment.python, *pip]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _digests(lists: Sequence[Path]) -> dict[str, str]:
    """By name, of lists and of those of ours that they include: who has installed everything has each part."""
    names = [(file, name) for file in lists for name in re.findall(r"^-r (\S+)", file.read_text("utf-8"), re.M)]
    ours = [path for file, name in names if LISTS in (path := file.parent / name).parents]
    return {str(file.relative_to(ROOT)): _digest(file) for file in lists} | (_digests(ours) if ours else {})


def requirements(file: Path) -> list[str]:
    """Requirements of a list and of those that it includes."""
    found: list[str] = []
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("-r "):
            found += requirements(file.parent / line[3:].strip())
        elif line.strip() and not line.startswith("#"):
            found.append(line.strip())
    return found


def name_of(requirement: str) -> str:
    """The name of a package as the index spells it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>~!\[; ]", requirement, maxsplit=1)[0]).lower()


def relaxed(lists: Sequence[Path], comfyui: Path, target: Path) -> Path:
    """Write one list of ours without the packages that ComfyUI's list names, whose versions are ComfyUI's."""
    named = {name_of(line) for line in requirements(comfyui)}
    lines = [line for file in lists for line in requirements(file) if name_of(line) not in named]
    target.write_text("\n".join(dict.fromkeys(lines)) + "\n", "utf-8")
    return target

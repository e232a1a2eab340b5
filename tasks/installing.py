"""Run pip or uv with a progress bar in place of their output, which goes into a log; say in a line what failed."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .common import CACHE, Environment, say

PIP_FILE = re.compile(r"\s*(?:Downloading|Using cached) (\S+?\.(?:whl|tar\.gz|zip))(?: \(.*\))?$")
PIP_NAMED = re.compile(r"Collecting ([\w.-]+)")
UV_COUNT = re.compile(r"(?:Resolved|Prepared) (\d+) package")  # of the list, and of those to be installed
UV_FILE = re.compile(r"Downloading (\S+) \(([\d.]+)([KMG])iB\)")
UV_ARRIVED = re.compile(r" Downloaded (\S+)")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
NO_CONNECTION = re.compile(
    r"NewConnectionError|getaddrinfo|Name or service not known|name resolution|Connection refused"
    r"|Network is unreachable|ConnectTimeout|ReadTimeout|ProxyError|dns error|error sending request",
    re.IGNORECASE,
)
# What a line of pip's or uv's says, and what the user can do about it: the first that fits. Without a connection, pip
# says that there is no matching distribution, too.
ADVICE = {
    re.compile(r"No space left|Errno 28|os error 28|not enough space", re.IGNORECASE): "the disk is full. PyTorch with "
    "ComfyUI's packages takes about 6 GB on Linux: free some space and run it again.",
    re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate", re.IGNORECASE): "the "
    "certificate of the package index is not trusted here. Behind a company's proxy set PIP_CERT (uv: SSL_CERT_FILE) "
    "to its certificate and run it again.",
    NO_CONNECTION: "the package index did not answer. Check the connection or the proxy and run it again: it goes on "
    "with what has been downloaded.",
    re.compile(r"No matching distribution|no wheels with a matching|no version of"): "a package was not found for "
    f"Python {platform.python_version()} on {platform.system()} {platform.machine()}. Python 3.10 to 3.13 of 64 bits "
    "have all packages; if this is one of them, the package index cannot be read from here: check the connection.",
    re.compile(r"DO NOT MATCH THE HASHES|Hash mismatch", re.IGNORECASE): "a file arrived damaged. Run it again; if it "
    "happens again, a proxy changes what is downloaded.",
}


@dataclass
class Progress:
    """What pip or uv has done, read from its lines; `packages` is how many are expected until it says it."""

    packages: int
    errors: list[str] = field(default_factory=list)
    all_lines: list[str] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    files: int = 0
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of the packages that uv has begun to download
    arrived: int = 0  # of those bytes
    installing: bool = False

    def read(self, line: str) -> None:
        self.all_lines.append(line)
        if found := PIP_NAMED.match(line):
            self.named.add(found[1].lower())
            self.packages = max(self.packages, len(self.named))
        elif found := UV_COUNT.match(line):
            self.packages = int(found[1])
        elif found := UV_FILE.search(line):
            self.sizes[found[1]] = int(float(found[2]) * UNITS[found[3]])
        elif found := UV_ARRIVED.match(line):
            self.arrived += self.sizes.get(found[1], 0)
        elif PIP_FILE.match(line):
            self.files += 1
        elif line.startswith("Installing collected packages:"):
            self.packages, self.installing = line.count(",") + 1, True
        elif line.lower().startswith(("error:", "  × ", "× ")):
            self.errors.append(line.strip(" ×").removeprefix("ERROR: ").removeprefix("error: "))

    def shown(self, installed: int, size: int) -> tuple[int, int, str]:
        """How much is done, of how much, and both in words; `size` is in bytes of what has been downloaded."""
        if self.installing or installed:
            return installed, self.packages, f"{installed} of {self.packages} installed, {size / 1e6:.0f} MB"
        if self.sizes:  # uv names large files only, so packages cannot be counted
            total = sum(self.sizes.values())
            return self.arrived, total, f"{self.arrived / 1e6:.0f} of {total / 1e6:.0f} MB fetched"
        return self.files, self.packages, f"{self.files} of {self.packages} fetched, {size / 1e6:.0f} MB"


class Bar:
    """One line that is written over while it changes; only its last state where output is no terminal."""

    WIDTH = 24

    def __init__(self, title: str) -> None:
        self.title, self.began, self.live = title, time.monotonic(), sys.stdout.isatty()
        if not self.live:
            say(f"{title}...")

    def show(self, done: int, of: int, text: str) -> None:
        """Write the line over the last one. It stays within the terminal: a line that wraps cannot be written over."""
        if not self.live:
            return
        columns = shutil.get_terminal_size().columns - 1
        width = min(self.WIDTH, columns - len(f"[atelier] {self.title} [] {text}"))
        filled = width * min(done, of) // max(of, 1)
        bar = f"[{'#' * filled}{'-' * (width - filled)}] " if width > 0 else ""
        print("\r\x1b[2K" + f"[atelier] {self.title} {bar}{text}"[:columns], end="", flush=True)

    def end(self, text: str) -> None:
        print("\r\x1b[2K" if self.live else "", end="")
        say(f"{self.title}: {text} in {time.monotonic() - self.began:.0f} s")


def run_logged(
    command: Sequence[str | Path], title: str, log: Path, packages: int = 1, environment: Environment | None = None
) -> None:
    """Run pip or uv to its end behind a bar; its lines go into `log`.

    Args:
        packages: how many it is expected to fetch, until it says it itself
        environment: where it installs, whose packages are counted; None for a mere download

    Raises:
        SystemExit: it failed; the message says why and what to do.
    """
    CACHE.mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="setup-", dir=CACHE))  # pip downloads to here, so its size is what has come
    variables = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)) | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    bar, progress = Bar(title), Progress(packages)
    before = _installed(environment)
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", errors="replace", env=os.environ | variables,
    )  # fmt: skip
    reader = threading.Thread(target=_read, args=(process, progress, log), daemon=True)
    reader.start()
    size = 0
    try:
        while reader.is_alive():
            reader.join(0.25)
            size = max(size, progress.arrived or _size(scratch))
            bar.show(*progress.shown(_installed(environment) - before, size))
    except KeyboardInterrupt:
        process.wait()
        raise SystemExit("\n[atelier] Stopped. Run it again: it goes on with what has been downloaded.") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if process.wait():
        bar.end("failed")
        raise SystemExit(f"[atelier] {title}: {explain(progress)} The whole log is {log}")
    new = _installed(environment) - before
    bar.end(f"{new} packages, {size / 1e6:.0f} MB," if environment else "fetched")


def explain(progress: Progress) -> str:
    """Why pip or uv failed and what to do, in a line."""
    lines = "\n".join(progress.all_lines)
    advice = next((text for pattern, text in ADVICE.items() if pattern.search(lines)), None)
    if advice:
        return advice
    last = [*progress.errors, *(line for line in progress.all_lines[-1:] if not progress.errors)]
    return f"{last[0] if last else 'it ended without a word'}."


def _read(process: "subprocess.Popen[str]", progress: Progress, log: Path) -> None:
    with log.open("a", encoding="utf-8") as file:
        print(f"\n$ {' '.join(map(str, process.args))}", file=file)  # type: ignore[arg-type]
        for line in process.stdout or ():
            file.write(line)
            file.flush()
            progress.read(line.rstrip())


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_size
            except OSError:  # pip has moved it meanwhile
                continue
    return total


def _installed(environment: Environment | None) -> int:
    return sum(1 for _ in environment.site_packages.glob("*.dist-info")) if environment else 0

"""python atelier.py package: what ComfyUI's registry gets."""

import re
import subprocess
import zipfile
from pathlib import Path, PurePosixPath

from .common import ROOT, say


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
    if missing := missing_fields((ROOT / "pyproject.toml").read_text("utf-8")):
        fields = ", ".join(missing)
        say(f"Not ready for the registry: fill in {fields} in pyproject.toml. docs/registry.md explains each.")
    say(f"Wrote {target} ({target.stat().st_size / 2**20:.1f} MB)")
    return target


FIELDS = {"PublisherId": r"[\w-]+", "Repository": "https://.+", "Icon": "https://.+", "Banner": "https://.+"}


def missing_fields(project: str) -> list[str]:
    """The fields that only the publisher knows and that pyproject.toml lacks, has empty or has commented out."""
    return [name for name, value in FIELDS.items() if not re.search(rf'^"?{name}"? = "{value}"', project, re.M)]

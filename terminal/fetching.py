"""Download a preset's files, or a file of a repository, with a line of progress in the terminal."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from .folders import FACES

Places = Mapping[str, Sequence[Path]]


def fetch_preset(name: str, family: str | None, places: Places) -> list[Path]:
    """Download the missing files of a preset, and return the paths of all its files.

    `name` may be shortened (`_preset`); `family` may be None for a preset with a single family.

    Raises:
        SystemExit: the preset or family is unknown or ambiguous, or the preset still cannot run.
        DownloadError: a download fails.
    """
    from pack.doctor.verdicts import verdict
    from pack.ipadapter.model_folders import model_folders
    from pack.ipadapter.presets import PRESETS

    preset = _preset(name, list(PRESETS))
    families = list(PRESETS[preset].adapters)
    if family is None and len(families) > 1:
        raise SystemExit(f"{preset} exists for {' and '.join(families)}: say which with --family.")
    if (family := family or families[0]) not in families:
        raise SystemExit(f"{preset} exists for {' and '.join(families)} only.")
    for missing in verdict(preset, family, model_folders(places), places[FACES]).missing:
        _fetch(missing.request, missing.folder, places)
    found = verdict(preset, family, model_folders(places), places[FACES])
    if not found.runs:
        raise SystemExit(found.why)
    return list(found.files)


def fetch_file(repository: str, path: str, folder: str, places: Places) -> Path:
    """Download a file of a repository to the model folder `folder`; a file of the catalogue goes to its own folder.

    Raises:
        SystemExit: the model folder is unknown.
        DownloadError: the download fails.
    """
    from pack.ipadapter.catalog import at

    if known := at(repository, path):
        return _fetch(known.request, known.folder, places)
    if folder not in places:
        raise SystemExit(f"There is no model folder {folder}: expected one of {', '.join(sorted(places))}.")
    return _fetch({"name": PurePosixPath(path).name, "repository": repository, "path": path}, folder, places)


def _fetch(request: Mapping[str, object], folder: str, places: Places) -> Path:
    from pack.encoders.face_models import half_pack
    from pack.model_files.errors import DownloadError
    from pack.model_files.packs import fetch_any
    from pack.model_files.remote import Wanted

    wanted = Wanted(**request)  # type: ignore[arg-type]
    target = places[FACES][-1] / "models" if folder == FACES else places[folder][0]
    target.mkdir(parents=True, exist_ok=True)
    if wanted.zipped and (fault := half_pack(wanted.name, target.parent)):
        raise DownloadError(fault)

    def watch(done: int, whole: int | None) -> None:
        share = f" {100 * done // whole}%" if whole else ""
        print(f"\r{wanted.name}: {done / 1e6:.0f} MB{share} ", end="", file=sys.stderr, flush=True)

    path = fetch_any(wanted, target, watch)
    print(file=sys.stderr)
    return path


def _preset(name: str, known: Sequence[str]) -> str:
    """The preset with this name or beginning of a name, in any case; SystemExit if several or none have it."""
    if name in known:
        return name
    wanted = name.casefold()
    exact = [preset for preset in known if preset.casefold() == wanted]
    exact = exact or [preset for preset in known if preset.casefold().split(" (")[0].split(" - ")[0] == wanted]
    found = exact or [preset for preset in known if preset.casefold().startswith(wanted)]
    if len(found) != 1:
        names = "\n  ".join(found or known)
        raise SystemExit(f"{'Several presets begin with' if found else 'There is no preset'} {name!r}:\n  {names}")
    return found[0]

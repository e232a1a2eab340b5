"""The command line `python -m terminal doctor|fetch|host ...`, which atelier.py runs."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from .fetching import fetch_file, fetch_preset
from .folders import FACES, model_places


def load_pack() -> None:
    """Import the pack's folder (the parent of this folder, under any name) as the module `pack`."""
    spec = importlib.util.spec_from_file_location("pack", Path(__file__).parents[1] / "__init__.py")
    assert spec and spec.loader
    sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pack"])


def parser() -> argparse.ArgumentParser:
    """The parser of the command line's arguments."""
    arguments = argparse.ArgumentParser(prog="atelier.py")
    arguments.add_argument("task", choices=["doctor", "fetch", "host"])
    arguments.add_argument("what", nargs="*", help="of fetch: a preset, or owner/name and the path of a file there")
    arguments.add_argument("--comfyui-path", type=Path, required=True, help=argparse.SUPPRESS)
    arguments.add_argument("--extra-model-paths-config", type=Path, nargs="+", default=[], help="as ComfyUI's option")
    arguments.add_argument("--family", help="of fetch: sd15 or sdxl, where a preset is for both")
    arguments.add_argument("--folder", default="ipadapter", help="of fetch: the model folder for an unknown file")
    arguments.add_argument("--json", action="store_true", help="of doctor: JSON on standard output")
    arguments.add_argument("--picture", type=Path, help="of doctor: also draw the report into this file")
    return arguments


def doctor(options: argparse.Namespace) -> None:
    """Print the doctor's report as text or JSON, and draw it into the file `--picture`."""
    from pack.doctor.report import as_json, as_text, examine_all
    from pack.doctor.sheet import draw_report

    places = model_places(options.comfyui_path, options.extra_model_paths_config)
    report = examine_all(places, places[FACES])
    print(as_json(report) if options.json else as_text(report))
    if options.picture:
        draw_report(report).save(options.picture)


def host(options: argparse.Namespace) -> None:
    """Print the check of a ComfyUI's sources; exit status 1 if a need without a substitute is not met."""
    from pack.doctor.host import check_host, report

    checked = check_host(options.comfyui_path)
    print(report(checked))
    if checked.broken:
        raise SystemExit(1)


def fetch(options: argparse.Namespace) -> None:
    """Download the files of a preset, or a file of a repository, and print their paths; SystemExit with the error."""
    from pack.model_files.errors import DownloadError

    places = model_places(options.comfyui_path, options.extra_model_paths_config)
    try:
        if len(options.what) == 1:
            paths = fetch_preset(options.what[0], options.family, places)
        elif len(options.what) == 2:
            repository, path = options.what
            paths = [fetch_file(repository, path, options.folder, places)]
        else:
            raise SystemExit("Say what to fetch: a preset in quotes, or owner/name and the path of a file there.")
    except DownloadError as error:
        raise SystemExit(str(error)) from error
    print(*paths, sep="\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the task that the arguments name (by default, those of the process)."""
    options = parser().parse_args(arguments)
    load_pack()
    {"doctor": doctor, "fetch": fetch, "host": host}[options.task](options)


if __name__ == "__main__":
    main()

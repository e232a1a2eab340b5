"""Set up and run ComfyUI-IPAdapter-Atelier: python atelier.py TASK

  demo       draw what image prompts do on one sheet, with the tiny models that come with the pack
  serve      leave ComfyUI with the pack open in the browser
  test       every check: style, types, tests in a running ComfyUI and a browser
  batch      run one graph for every row of a table
  bench, train, draw, package   for those who develop the pack

About your own ComfyUI, with its Python:

  doctor     what lies in its model folders, and which presets would run
  fetch      a preset's files: fetch "PLUS" --family sd15
  host PATH  whether that ComfyUI has everything that the pack relies on

Needs Python 3.10 or newer and nothing else. Everything it makes lies in .venv/, .cache/ and output/ beside this file.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036  # before any line that an older Python cannot read
    raise SystemExit("Python 3.10 or newer is needed; this is " + sys.version.split()[0] + ".")

import argparse  # noqa: E402
import os  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))  # which the portable version's Python leaves out
from tasks import checks, comfyui, environment, models, packaging  # noqa: E402
from tasks.common import ROOT, run  # noqa: E402

TASKS = ("demo", "test", "serve", "bench", "train", "batch", "draw", "package", "doctor", "fetch", "host")
MODULES = {"bench": "benchmarks", "train": "training", "draw": "authoring.guide_pictures"}


def run_task(task: str, named: str | None, rest: list[str]) -> None:
    """Set up what a task runs on, and run it. `named` is a release of ComfyUI or, for `test`, any folder of one."""
    checkout = comfyui.checkout(named) if named is not None and named not in comfyui.COMFYUI else None
    if checkout and task != "test":
        raise SystemExit(f"{task} runs on a release: expected --comfyui with one of {', '.join(comfyui.COMFYUI)}.")
    where = environment.environment_of(checkout)
    environment.make(where)
    host = checkout or comfyui.find_comfyui(named, where)
    environment.install(where, host, environment.lists_of(task, rest), own_versions=checkout is not None)
    variables = dict(os.environ) | {
        "COMFYUI_PATH": str(host), "PYTHONPATH": str(ROOT / "tests"), "PYTHONUTF8": "1",
    }  # fmt: skip
    if task == "test":
        checks.check(where, variables, rest)
    elif task == "batch":
        run(where.python, "-m", "headless", *rest, env=variables | {"PYTHONPATH": str(ROOT)}, cwd=Path.cwd())
    else:
        run(where.python, "-m", MODULES.get(task, f"harness.{task}"), *rest, env=variables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS, metavar="TASK")
    releases = ", ".join(comfyui.COMFYUI)
    parser.add_argument("--comfyui", help=f"a release ({releases}); of test, doctor and fetch: also any folder")
    options, rest = parser.parse_known_args()
    if options.task in ("doctor", "fetch"):
        models.look_after_models(options.task, options.comfyui, rest)
    elif options.task == "host":
        models.check_host(options.comfyui, rest)
    elif options.task == "package":
        packaging.package(*map(Path, rest))
    else:
        run_task(options.task, options.comfyui, rest)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("\n[atelier] Stopped. Run it again: it goes on with what is there.") from None

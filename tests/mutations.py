"""Break the code in one place after another, and see whether the tests that stand for that place fail.

Run by hand, and whenever the heart, the bindings or the masks were rewritten; `python atelier.py test` runs none of it:

    .venv/bin/python tests/mutations.py [--tree FOLDER] [WORDS OF A NAME ...]

Each mutation is made in a scratch copy of the tree, so the tree itself is never changed. A mutation is *caught* when
one of its tests fails, and *survived* when all pass: then a test is missing. *Not found* says that the code was
written anew: give that row the new text, and leave the old one beside it only while an older tree is compared. Exit
code 1 unless every mutation is caught.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.host import HINT, find_comfyui
from mutation_table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
LEFT_OUT = (".git", ".cache", ".venv", "output", "__pycache__", "workflows", "web")


def place_of(tree: Path, mutation: Mutation) -> tuple[Path, str, str] | None:
    """The file, the text and its replacement; None where none of the texts stands exactly once."""
    for old, new in mutation.ways.items():
        holding = [file for file in sorted(tree.glob(mutation.where)) if old in file.read_text("utf-8")]
        if len(holding) == 1 and holding[0].read_text("utf-8").count(old) == 1:
            return holding[0], old, new
    return None


def failures(tree: Path, patterns: tuple[str, ...]) -> str:
    """What pytest says of tests that fail, empty where all pass; a RuntimeError where it did not even collect them."""
    files = [str(file) for pattern in patterns for file in sorted((tree / "tests").glob(pattern))]
    if not files:
        raise RuntimeError(f"no test file is called {' or '.join(patterns)}")
    environment = os.environ | {"PYTHONPATH": str(tree / "tests"), "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    environment["COMFYUI_PATH"] = str(find_comfyui())  # the copy has no .cache
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return done.stdout[-2000:] if done.returncode else ""


def judged(tree: Path, mutation: Mutation) -> str:
    """Caught, survived, or why neither can be said."""
    place = place_of(tree, mutation)
    if place is None:
        return "NOT FOUND"
    file, old, new = place
    source = file.read_text("utf-8")
    try:
        file.write_text(source.replace(old, new), "utf-8")
        return "caught" if failures(tree, mutation.tests) else "SURVIVED"
    except RuntimeError as error:
        return f"NOT RUN: {error}"
    finally:
        file.write_text(source, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only mutations that have one of these words in what they break")
    parser.add_argument("--tree", type=Path, default=ROOT, help="the tree to break a copy of")
    options = parser.parse_args()
    if find_comfyui() is None:
        raise SystemExit(HINT)  # without it, tests of the bindings would be skipped, and mutations seem to survive
    chosen = [m for m in MUTATIONS if not options.words or any(word in m.breaks for word in options.words)]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(options.tree, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        every = tuple(dict.fromkeys(pattern for mutation in chosen for pattern in mutation.tests))
        if said := failures(tree, every):
            raise SystemExit(f"{said}\nThe tests fail before anything is broken: mend that first.")
        for mutation in chosen:
            begun = time.monotonic()
            results.append(judged(tree, mutation))
            print(f"{results[-1]:9} {time.monotonic() - begun:4.0f} s  {mutation.breaks}", flush=True)
    caught = results.count("caught")
    print(f"{caught} of {len(results)} caught")
    raise SystemExit(caught < len(results))


if __name__ == "__main__":
    main()

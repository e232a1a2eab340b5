"""The commands of README and docs run: each by a test to its end, and with the page's own arguments up to its work."""

import argparse
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host import find_comfyui
from test_pages import MODULES, PLACEHOLDERS, ROOT, commands, pages

# How each command begins, and the test that runs what it starts to its end.
TO_THE_END = {
    "python atelier.py demo": "server/test_demo.py::test_every_picture_is_written_and_they_are_not_all_the_same",
    "python atelier.py batch": "headless/test_batch.py",
    "python -m headless": "headless/test_batch.py",
    "python atelier.py bench": "performance/test_benchmarks.py",
    "python atelier.py train": "demo/test_training.py",
    "python atelier.py draw --models": "workflows/test_gallery.py",
    "python atelier.py draw": "demo/test_guides.py::test_they_are_drawn_by_the_packs_own_nodes",
    "python atelier.py package": "test_commands.py::test_short_commands_run_as_the_pages_have_them",
    "python atelier.py doctor": "model_doctor/test_terminal.py",
    "python atelier.py fetch": "model_doctor/test_terminal.py",
    "python atelier.py host": "test_commands.py::test_short_commands_run_as_the_pages_have_them",
    "python -m authoring.draw_workflows": "workflows/test_workflows.py",
    "python -m authoring.help_pages": "test_locales.py",
    "python -m authoring.locales": "test_locales.py",
    "python -m authoring.model_tables": "ipadapter/test_catalog.py",
    "python -m authoring.take_table": "ipadapter/test_takes.py",
    "python -m pip install": "test_commands.py::test_short_commands_run_as_the_pages_have_them",
}
# Commands that no test runs to the end, each with the reason.
BY_HAND = {
    "python atelier.py test": "runs the test that would run it",
    "python atelier.py serve": "runs until somebody stops it; the tests' servers start by the same class",
    "python -m benchmarks.batches": "measures for minutes; its batches are those of headless/",
    "python tests/mutations.py": "runs the tests for an hour",
    "python tests/trust/fuzz.py": "needs atheris; tests/trust/test_parsers.py feeds the same parsers",
    "python -m harness.registry_pictures": "overwrites pictures that are looked at before they are kept",
}
NAMED_ONLY = ("python atelier.py batch", "python atelier.py fetch")  # in sentences, without the arguments they need


def commands_of_pages() -> list[str]:
    """Every command of the pages that begins with python and names a task, a module or a file of this repository."""
    found = {command for text in pages().values() for command in commands(text)}
    return sorted(command for command in found if not command.startswith("python main.py"))


def longest_beginning(command: str) -> str | None:
    return max((start for start in (*TO_THE_END, *BY_HAND) if command.startswith(start)), key=len, default=None)


def test_each_command_of_the_pages_is_run_by_a_test_or_says_why_not():
    used = {command: longest_beginning(command) for command in commands_of_pages()}
    assert [command for command, start in used.items() if start is None] == []
    assert {*TO_THE_END, *BY_HAND} - set(used.values()) == set()  # of commands that no page has
    for file, _, name in (test.partition("::") for test in TO_THE_END.values()):
        assert f"def {name}" in (ROOT / "tests" / file).read_text("utf-8"), f"{file} has no {name}"


class Parsed(Exception):
    """The arguments were understood; the work would begin."""


def read_arguments(monkeypatch: pytest.MonkeyPatch, module: str, arguments: list[str]) -> None:
    """Run a module with arguments, as `python -m`, until it has read them.

    Raises SystemExit with argparse's message if it does not understand them.
    """
    parse = argparse.ArgumentParser.parse_args

    def stop_behind(self: argparse.ArgumentParser, *given: object, **more: object) -> None:
        parse(self, *given, **more)  # type: ignore[call-overload]
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop_behind)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(Parsed):
        runpy.run_module(module, run_name="__main__")


def module_and_arguments(command: str) -> tuple[str, list[str]] | None:
    """The module that a command starts, and the arguments that it gets; None for one that reads none by argparse."""
    words = [word for word in shlex.split(command)[1:] if not word.startswith(PLACEHOLDERS)]
    if words[:2] in (["-m", "headless"], ["-m", "benchmarks.batches"]):
        return words[1], words[2:]
    task, rest = (words[1], words[2:]) if words[0] == "atelier.py" else ("", [])
    if task in ("", "test", "package") or command in NAMED_ONLY:
        return None
    if task in ("doctor", "fetch", "host"):  # `PATH` is for atelier.py, which looks the folder up
        kept = [word for word in rest if word not in ("--comfyui", "PATH")]
        return "terminal", [task, *kept, "--comfyui-path", str(ROOT)]
    return MODULES.get(task, "headless" if task == "batch" else f"harness.{task}"), rest


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # tests have imported some of them
def test_modules_understand_the_arguments_that_the_pages_give_them(monkeypatch: pytest.MonkeyPatch):
    read = []
    for command in commands_of_pages():
        if started := module_and_arguments(command):
            with monkeypatch.context() as patch:
                read_arguments(patch, *started)
            read.append(command)
    assert len(read) > 12
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        read_arguments(patch, "headless", ["graph.json", "--no-such-option"])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a package is made of the files in git")
def test_short_commands_run_as_the_pages_have_them(tmp_path: Path):
    pages_have = commands_of_pages()
    runs = {
        "python -m pip install -r ComfyUI-IPAdapter-Atelier/requirements.txt": [
            "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "-r", "requirements.txt",
        ],
        "python atelier.py package": ["atelier.py", "package", str(tmp_path)],
        "python atelier.py host PATH": ["atelier.py", "host", str(find_comfyui())],
    }  # fmt: skip
    for command, arguments in runs.items():
        assert command in pages_have
        done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout[-500:], done.stderr[-500:])

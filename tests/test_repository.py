"""The folder as ComfyUI and users meet it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_importing_the_folder_needs_neither_comfyui_nor_torch():
    code = (
        "import importlib.util, sys; s = importlib.util.spec_from_file_location('p', '__init__.py');"
        "m = importlib.util.module_from_spec(s); s.loader.exec_module(m); assert callable(m.comfy_entrypoint);"
        "assert not {'comfy', 'torch', 'comfy_api'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_file_that_the_readme_and_docs_link_to_is_there():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        prose = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)  # code may look like a link
        for target in re.findall(r"\]\(([^)#]+)", prose):
            assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_test_that_holds_a_line_of_the_contract_is_there():
    rows = [line for line in (ROOT / "docs" / "contract.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    named = re.findall(r"`([\w/]*test_\w+\.py)(?:::(test_\w+))?`", "\n".join(rows))
    files = {file: (ROOT / "tests" / file).read_text("utf-8") for file, _ in named if (ROOT / "tests" / file).exists()}
    assert [file for file, _ in named if file not in files] == []
    assert [f"{file}::{name}" for file, name in named if name and f"def {name}(" not in files[file]] == []
    assert [row for row in rows if row[2].isupper() and "test_" not in row] == []


def test_comfyui_finds_templates_in_one_folder_only():
    """It serves every folder of these names at one address, so that the first hides what is in the others."""
    names = ("example_workflows", "example", "examples", "workflow", "workflows")
    assert [name for name in names if (ROOT / name).exists()] == ["workflows"]


def test_architecture_names_every_folder_and_no_file_that_is_gone():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    listed = text[text.index("## Folders") : text.index("## From a node")]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"} - {"output"}
    assert [name for name in sorted(folders) if f"{name}/" not in listed] == []
    places = (ROOT, ROOT / "nodes", ROOT / "nodes" / "applying")
    for file in re.findall(r"`([a-z_]+/[a-z_/]+\.py)", text):
        theirs = file.startswith("comfy")
        assert theirs or any((place / file).is_file() for place in places), f"docs/architecture.md names {file}"


def test_python_files_keep_to_300_lines():
    own = (file for file in ROOT.rglob("*.py") if not {".venv", ".cache", "output"} & set(file.relative_to(ROOT).parts))
    assert not {str(file): n for file in own if (n := len(file.read_text("utf-8").splitlines())) > 300}


def test_every_package_that_is_asked_for_is_listed_with_its_licence():
    listed = (ROOT / "docs" / "licences.md").read_text("utf-8").lower()
    ours = ROOT / "tests" / "requirements"
    for file in (ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt", *ours.glob("*.txt")):
        lines = [line for line in file.read_text("utf-8").lower().splitlines() if line and line[0] not in "#-"]
        names = {re.split(r"[=<>\[; ]", line)[0] for line in lines} - {"torch"}
        assert not [name for name in names if not re.search(rf"[| ,]{re.escape(name)}[ ,]", listed)]


def test_the_oldest_packages_that_are_asked_for_are_those_that_were_tried():
    listed = (ROOT / "docs" / "licences.md").read_text("utf-8")
    for name, oldest in re.findall(r"^(\w+)>=([\d.]+)$", (ROOT / "requirements.txt").read_text("utf-8"), re.M):
        assert re.search(rf"^\| {name} \| {re.escape(oldest)} and newer \| {re.escape(oldest)}", listed, re.M), name

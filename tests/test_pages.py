"""Pages for people stay true: their commands exist, their links lead somewhere, their pictures show what is there."""

import ast
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HELP = ROOT / "web" / "docs"
# Read and not imported: the script puts its folder before ComfyUI's, which has a module `nodes` too.
SCRIPT = {
    node.targets[0].id: ast.literal_eval(node.value)
    for node in ast.parse((ROOT / "atelier.py").read_text("utf-8")).body
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
}
TASKS, MODULES = SCRIPT["TASKS"], SCRIPT["MODULES"]
PLACEHOLDERS = ("TASK", "...", "[", "<")  # stand for what a reader fills in
TEST_OPTIONS = {"-k"}  # of pytest, which `python atelier.py test` hands on
# Pictures that are older than what they show, each with the reason why they were not drawn again.
OLDER: dict[str, str] = {}


@cache
def pages() -> dict[Path, str]:
    """Every page that people read, by its path; what generators read and users' output are left out."""
    tops = [path for path in ROOT.iterdir() if path.name[0] != "." and path.name not in ("help", "output", "authoring")]
    files = (file for top in tops for file in (top.rglob("*.md") if top.is_dir() else [top]) if file.suffix == ".md")
    return {file: file.read_text("utf-8") for file in sorted(files)}


def commands(text: str) -> list[str]:
    """The commands of a page that begin with python: lines of its code blocks, and code inside of sentences."""
    blocks = [line for block in re.findall(r"```\w*\n(.*?)```", text, re.S) for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    own = (re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command.strip()) for command in (*blocks, *inline))
    return [command.split("#")[0].strip() for command in own if command.startswith("python ")]


@cache
def source_of(folder: str) -> str:
    """The source text of a module or a folder of modules, which has its options as literals."""
    path = ROOT / folder
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return "\n".join(file.read_text("utf-8") for file in files)


def module_path(name: str) -> Path | None:
    """The file or folder that `python -m name` runs; None where it is no module of this repository."""
    for root in (ROOT, ROOT / "tests"):
        path = root / name.replace(".", "/")
        if path.is_dir() or path.with_suffix(".py").is_file():
            return path
    return None


def faults(command: str) -> list[str]:
    """What of a command there is not: its task, module, file or an option."""
    words = [word for word in shlex.split(command)[1:] if not word.startswith(PLACEHOLDERS)]
    if not words:
        return []
    if words[0].endswith("atelier.py"):
        if len(words) == 1:
            return []
        task = words[1]
        if task not in TASKS:
            return [f"no task {task}"]
        module = module_path(MODULES.get(task, f"harness.{task}")) or ROOT / {"batch": "headless"}.get(task, "tasks")
        places = [str(module.relative_to(ROOT)), "tasks", "atelier", "terminal"]
    elif words[0] == "-m":
        if words[1].split(".")[0] in ("pip", "pyright", "pytest", "venv", "http", "comfy"):
            return []
        path = module_path(words[1])
        if path is None:
            return [f"no module {words[1]}"]
        places = [str(path.relative_to(ROOT))]
    elif not (ROOT / words[0]).is_file():
        return [] if words[0].startswith("-") or words[0] == "main.py" else [f"no file {words[0]}"]
    else:
        places = [str(Path(words[0]).with_suffix(""))]
    known = "\n".join(map(source_of, places))
    options = {word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)} - TEST_OPTIONS
    return [f"no option {option}" for option in sorted(options) if f'"{option}"' not in known]


def test_every_command_of_the_pages_is_there_with_its_options():
    found = [(file, command) for file, text in pages().items() for command in commands(text)]
    assert len(found) > 30
    wrong = [f"{file.name}: {command}: {', '.join(why)}" for file, command in found if (why := faults(command))]
    assert wrong == []


def test_what_the_pages_may_not_say_is_noticed():
    assert faults("python atelier.py demos") == ["no task demos"]
    assert faults("python atelier.py demo --out x") == ["no option --out"]
    assert faults("python -m authoring.nowhere") == ["no module authoring.nowhere"]
    assert faults("python scripts/nowhere.py") == ["no file scripts/nowhere.py"]


def test_the_script_lists_every_task_that_the_pages_name():
    help_text = subprocess.run(
        [sys.executable, "atelier.py", "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    used = {match for text in pages().values() for match in re.findall(r"python atelier\.py ([a-z]+)", text)}
    assert {"demo", "serve", "test", "doctor"} <= used
    assert [task for task in used if not re.search(rf"\b{task}\b", help_text)] == []


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_link_of_the_pages_leads_to_a_file_and_to_a_heading_of_it():
    wrong = []
    for file, text in pages().items():
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)  # code may look like a link
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            path, _, anchor = target.partition("#")
            base = HELP if HELP in file.parents else file.parent  # ComfyUI's page opens help from there
            there = base / path if path else file
            if "://" in target or (there.exists() and not anchor):
                continue
            if not there.exists() or anchor not in anchors(there.read_text("utf-8")):
                wrong.append(f"{file.relative_to(ROOT)} links to {target}")
    assert wrong == []


def git(*words: str, text: str = "") -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8", input=text
    ).stdout


def drawn_at() -> dict[str, str]:
    """The commit that last changed each picture, by its path; pictures that are changed now are left out."""
    commits: dict[str, str] = {}
    commit = ""
    for line in git("log", "--format=@%H", "--name-only", "--no-renames", "--", "*.jpg").splitlines():
        commit = line[1:] if line.startswith("@") else commit
        if line and not line.startswith("@"):
            commits.setdefault(line, commit)
    changed = {line[3:].strip('"') for line in git("status", "--porcelain", "--", "*.jpg").splitlines()}
    return {path: commit for path, commit in commits.items() if path not in changed}


def contents_at(wanted: list[tuple[str, str]]) -> list[str]:
    """The texts of files at commits, (commit, path); empty where a commit does not have the file."""
    answer = git("cat-file", "--batch", text="".join(f"{commit}:{path}\n" for commit, path in wanted)).encode()
    texts, at = [], 0
    for _ in wanted:
        end = answer.index(b"\n", at)
        head, at = answer[at:end].split(), end + 1
        size = 0 if head[-1] == b"missing" else int(head[-1])
        texts.append(answer[at : at + size].decode())
        at += size + 1 if size else 0
    return texts


def seen_of(workflow: str, picture: str) -> list[object]:
    """What a picture shows of a graph: in workflows/ titles, positions, values and links of its nodes, and no addresses
    of files; in docs/lessons/ what came out, which neither notes nor positions change.
    """
    if not workflow:
        return []
    graph = json.loads(workflow)
    result = picture.startswith("docs/lessons/")
    fields = ("id", "type", "mode", "widgets_values", *(() if result else ("pos", "size", "title")))
    nodes = [node for node in graph["nodes"] if not (result and node["type"] == "MarkdownNote")]
    return [[[node.get(field) for field in fields] for node in nodes], graph["links"]]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git knows what a picture showed when it was drawn")
def test_every_picture_of_a_lesson_shows_the_lesson_as_it_is_now_or_is_listed():
    graphs = sorted((ROOT / "workflows").glob("*.json"))
    commits = drawn_at()
    pairs = [
        (f"{folder}/{file.stem}.jpg", file)
        for file in graphs for folder in ("workflows", "docs/lessons") if f"{folder}/{file.stem}.jpg" in commits
    ]  # fmt: skip
    assert len(pairs) > 40
    before = contents_at([(commits[picture], f"workflows/{file.name}") for picture, file in pairs])
    older = {
        picture
        for (picture, file), then in zip(pairs, before, strict=True)
        if seen_of(then, picture) != seen_of(file.read_text("utf-8"), picture)
    }
    assert older == OLDER.keys(), "draw these again, or give the reason in OLDER"

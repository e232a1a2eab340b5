"""The package that ComfyUI's registry gets: what ComfyUI needs and nothing else, and it runs."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser

from harness.browser import ComfyPage
from harness.client import PromptError
from harness.graph import Graph
from harness.process import PACK
from harness.server import Server
from tasks.packaging import missing_fields, package

ROOT = Path(__file__).parents[1]
WORKFLOW = "workflows/try_it_no_downloads.json"
DATABASE = "sqlalchemy"  # ComfyUI 0.16 logs an error of its own database at every start
NOT_NEEDED = {
    ".ci", "atelier.py", "authoring", "benchmarks", "docs", "scripts", "headless", "help", "tasks", "terminal", "tests",
    "training", "CONTRIBUTING.md", ".gitignore", ".comfyignore",
}  # fmt: skip
# What scanners of node packs report as malicious, whatever it is there for.
SUSPECT_MODULES = {"subprocess", "ctypes", "marshal", "socket", "pty"}
SUSPECT_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "dill.loads",
}  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def unpacked(archive: Path) -> Path:
    folder = archive.parent / PACK
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
    return folder


def test_it_holds_what_comfyui_needs_and_nothing_else(archive: Path):
    with zipfile.ZipFile(archive) as files:
        names = files.namelist()
    tops = {name.split("/")[0] for name in names}
    in_git = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert tops == {name.split("/")[0] for name in in_git.stdout.split("\0") if name} - NOT_NEEDED
    assert {"locales/zh/nodeDefs.json", "web/docs/IPAdapter/en.md", "demo_models/unet.safetensors"} <= set(names)
    assert "demo_models/measured.json" not in names and "locales/zh.json" not in names


def test_equal_files_give_equal_bytes(archive: Path, tmp_path: Path):
    assert package(tmp_path).read_bytes() == archive.read_bytes()


def test_what_only_the_publisher_can_fill_in_is_named(archive: Path, capsys: pytest.CaptureFixture[str]):
    unknown = ["PublisherId", "Repository", "Icon", "Banner"]
    assert missing_fields((ROOT / "pyproject.toml").read_text("utf-8")) == unknown
    package(archive.parent)
    assert f"Not ready for the registry: fill in {', '.join(unknown)} in pyproject.toml" in capsys.readouterr().out
    filled = 'PublisherId = "somebody"\n' + "\n".join(f'{name} = "https://example.org/x"' for name in unknown[1:])
    assert missing_fields(filled) == []


def test_no_field_has_a_value_that_would_be_published_by_mistake():
    """comfy-cli refuses an empty publisher; a made-up id or address may belong to somebody else."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    values = dict(re.findall(r'^"?([\w-]+)"? = "(.*)"', text, re.M))
    assert [name for name in missing_fields(text) if values.get(name)] == []
    assert not re.search(r"example\.|your[-_ ]|placeholder|TODO|github\.com", text, re.I)


def suspects(source: str) -> list[str]:
    """The lines of a file that a scanner would name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called in SUSPECT_CALLS or called.endswith(".eval"):
            found.append(called)
        found += [module for module in modules if module.split(".")[0] in SUSPECT_MODULES]
    return found


def test_there_is_nothing_in_it_for_a_scanner(unpacked: Path):
    files = {str(file.relative_to(unpacked)): file.read_text("utf-8") for file in unpacked.rglob("*.py")}
    assert len(files) > 100
    assert {name: found for name, source in files.items() if (found := suspects(source))} == {}


def test_what_a_scanner_names_is_found():
    lines = ("import subprocess", "from ctypes import cdll", "model.eval()", "eval('1')", "pickle.loads(b'')")
    assert [len(suspects(line)) for line in lines] == [1] * len(lines)


def test_it_passes_what_comfy_node_validate_asks(unpacked: Path):
    """Those rules of ruff, a name and a version, as comfy-cli 1.23.0 does; the publisher is `missing_fields`'."""
    rules = ["--isolated", "--select", "S102,S307,E702"]
    subprocess.run([sys.executable, "-m", "ruff", "check", "-q", *rules, "."], cwd=unpacked, check=True)
    text = (unpacked / "pyproject.toml").read_text("utf-8")
    for name in ("name", "version", "DisplayName"):
        assert re.search(rf'^{name} = "\S+"$', text, re.MULTILINE), name


class Fresh(Server):
    """A ComfyUI that has the package, and nothing else."""

    def __init__(self, package: Path) -> None:
        super().__init__()
        self.package = package

    def add_pack(self, name: str, source: Path) -> None:
        super().add_pack(name, self.package)

    def add_stand_ins(self) -> None:
        pass


@pytest.mark.usefixtures("start_server")  # skips without ComfyUI
def test_in_a_fresh_comfyui_it_draws_the_workflow_that_needs_no_downloads(browser: Browser, unpacked: Path):
    with Fresh(unpacked) as server:
        page = ComfyPage(browser, server.url)
        page.load(json.loads((unpacked / WORKFLOW).read_text("utf-8")))
        assert page.missing_nodes() == []
        page.run()
        assert page.errors == []
        page.page.close()
        errors = re.findall(r"Traceback.*\n(?:[ \t].*\n)*", server.log)
        assert [error for error in errors if DATABASE not in error] == []
        (picture, *_) = server.output.rglob("*.png")
        with Image.open(picture) as opened:
            assert len(opened.convert("RGB").getcolors(2**24) or []) > 100  # a drawing, and no plain colour
        free = Graph()
        choice = {"preset": "a file of a repository", "repository": "someone/else", "file": "model.safetensors"}
        free.add("IPAdapterModelDownload", **choice, family="SD1.5", download=True)
        with pytest.raises(PromptError, match="not among the files that this pack knows"):
            server.run(free)

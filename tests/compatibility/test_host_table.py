"""The table of what the pack relies on in ComfyUI: it is complete, and every part of it is compared."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from harness.host import HINT, find_comfyui
from pack.doctor.host import CHANGED, GONE, Gap, check_host, compare, definitions, parameters
from pack.doctor.host_needs import MORE, NEEDS, Need

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def host() -> Path:
    """The folder of the ComfyUI that the tests run on."""
    return find_comfyui() or pytest.skip(HINT)


def test_the_table_has_every_name_that_the_pack_reads_in_a_module_of_comfyui(host):
    known = {(need.file, need.name.partition(".")[0]) for need in NEEDS}
    files = [file for folder in ("nodes", "terminal") for file in (ROOT / folder).rglob("*.py")]
    used = {found for file in files for name in names_of(file) if (found := place_of(name, host))}
    assert len(used) > 60
    assert sorted(used - known) == []


HOST = ("comfy", "comfy_api", "comfy_execution", "folder_paths", "node_helpers", "nodes", "server", "utils")
ALIASES = {"comfy_api.latest.io": "comfy_api.latest._io", "comfy_api.latest.ui": "comfy_api.latest._ui"}


def names_of(file: Path) -> set[str]:
    """The dotted names that a file imports from ComfyUI's modules, or reads in them."""
    tree = ast.parse(file.read_text("utf-8"))
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(each.asname or each.name.split(".")[0], each.name) for each in node.names]
            bound |= {name: path if name != path.split(".")[0] else name for name, path in names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            bound |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}

    def dotted(node: ast.AST) -> str | None:
        if isinstance(node, ast.Name):
            return bound.get(node.id)
        if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
            return f"{owner}.{node.attr}"
        return None

    found = {name for node in ast.walk(tree) if (name := dotted(node))} | set(bound.values())
    return {name for name in found if name.split(".")[0] in HOST}


def place_of(name: str, host: Path) -> tuple[str, str] | None:
    """The file of ComfyUI in which a dotted name is defined, with its part behind the module; None for a module."""
    for alias, module in ALIASES.items():
        name = f"{name}.".replace(f"{alias}.", f"{module}.").removesuffix(".")
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        for file in (f"{'/'.join(parts[:count])}.py", f"{'/'.join(parts[:count])}/__init__.py"):
            if (host / file).is_file():
                own = parts[count] if count < len(parts) else "__file__"
                return None if own.startswith("__") else (file, own)
    return None


HEADS = {
    "def f(self, a, b): return a\n\ndef g(c):\n    pass\n": "a, b",
    "async def f(\n    a,  # the (first) thing:\n    *args,\n    b=')',\n) -> 'x: y':\n    pass\n": "a, *, b",
    "    def f(a: dict[str, int] = {}, /, *, b=lambda x: x, **more) -> dict[str, int]: ...\n": "a, /, *, b, **",
    "f = functools.partial(g, 1)\n": None,
    "f = g\n": None,
}


@pytest.mark.parametrize("source", HEADS)
def test_parameters_are_read_of_any_head_and_unknown_for_a_second_name_of_a_function(source):
    offset = source.index("f") if source.startswith("f =") else 0
    found = parameters(source, offset)
    assert (found and str(found)) == HEADS[source]
    need = Need("file.py", "f", "all", takes=("a", MORE))
    assert (compare(need, source.strip()) is None) == (definitions(source.strip()).keys() >= {"f"})


CALLS = {  # heads of a function that the pack calls as f(a, b=1), and whether that call still works
    "def f(a, b): pass": True,
    "def f(a, *, b, c=0): pass": True,
    "def f(a, /, b, *more, **others): pass": True,
    "def f(*, a, b): pass": False,
    "def f(a, b, /): pass": False,
    "def f(a, b, c): pass": False,
    "def f(a, *, b, c): pass": False,
    "def f(a, **others): pass": False,
}


@pytest.mark.parametrize("head", CALLS)
def test_a_call_that_a_changed_head_would_refuse_is_a_gap(head):
    need = Need("file.py", "f", "all", takes=("a",), keywords=("b",))
    assert (compare(need, head) is None) == CALLS[head]


def test_a_text_is_not_found_in_a_longer_name():
    need = Need("file.py", "", "all", texts=("self.to_q", '["uuid"]'))
    assert compare(need, "self.to_q = x['uuid']") is None
    assert compare(need, "self.to_query = x['uuid']") == Gap(need, GONE, "self.to_q")


def test_a_name_that_moved_is_compared_in_the_file_from_which_its_own_imports_it(host, tmp_path):
    file, line = "comfy/samplers.py", "def calc_cond_batch("
    for needed in {need.file for need in NEEDS}:
        (tmp_path / needed).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(host / needed, tmp_path / needed)
    source, moved = tmp_path / file, tmp_path / "comfy" / "moved.py"
    text = source.read_text("utf-8")
    moved.write_text(text, "utf-8")
    for statement in ("from .moved import calc_cond_batch", "from comfy.moved import calc_cond_batch"):
        source.write_text(f"{statement}\n{text.replace(line, 'def old(')}", "utf-8")
        check_host.cache_clear()
        assert check_host(tmp_path).broken == ()
    moved.write_text(text.replace(line, f"{line}options, "), "utf-8")
    check_host.cache_clear()
    assert [gap.state for gap in check_host(tmp_path).broken] == [CHANGED]


def test_the_table_has_every_file_that_the_architecture_names():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    part = text.split("## Hooks of ComfyUI")[1].split("\n## ")[0]
    columns = [line.split("|")[2] for line in part.splitlines() if line.startswith("|")]
    named = {file for column in columns for file in re.findall(r"`((?:comfy\w*/)?[\w/]+\.py)`", column)}
    assert len(named) > 10
    files = {need.file for need in NEEDS}
    assert [name for name in sorted(named) if not any(file.endswith(name) for file in files)] == []


def broken_by(need: Need, source: str) -> list[str]:
    """The source with each part of a need renamed: a text, the name, a parameter."""
    made = [source.replace(text, "RENAMED").replace(text.replace('"', "'"), "RENAMED") for text in need.texts]
    name = need.name.rpartition(".")[2]
    made += [source.replace(name, "renamed")] if name else []
    words = [word for word in (*need.takes, *need.keywords) if word != MORE]
    return made + [source.replace(word, f"renamed_{word}") for word in words]


def test_every_need_is_missed_when_any_part_of_it_is_renamed(host):
    kept = [
        f"{need.file}: {need.name or need.texts}, part {number}"
        for need in NEEDS
        if (host / need.file).is_file() and compare(need, (host / need.file).read_text("utf-8")) is None
        for number, source in enumerate(broken_by(need, (host / need.file).read_text("utf-8")))
        if compare(need, source) is None
    ]
    assert kept == []
    assert [need.file for need in NEEDS if (gap := compare(need, None)) is None or gap.state != GONE] == []

"""The table of what the pack relies on in ComfyUI: it is complete, and every part of it is compared."""

import ast
import re
from pathlib import Path

import pytest

from harness.host import HINT, find_comfyui
from pack.doctor.host import GONE, compare, definitions, parameters
from pack.doctor.host_needs import NEEDS, Need

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
    "def f(self, a, b): return a\n\ndef g(c):\n    pass\n": ["a", "b"],
    "async def f(\n    a,  # the (first) thing:\n    *args,\n    b=')',\n) -> 'x: y':\n    pass\n": ["a", "b", "*"],
    "    def f(a: dict[str, int] = {}, /, *, b=lambda x: x, **more) -> dict[str, int]: ...\n": ["a", "b", "**"],
    "f = functools.partial(g, 1)\n": None,
    "f = g\n": None,
}


@pytest.mark.parametrize("source", HEADS)
def test_parameters_are_read_of_any_head_and_unknown_for_a_second_name_of_a_function(source):
    offset = source.index("f") if source.startswith("f =") else 0
    assert parameters(source, offset) == HEADS[source]
    need = Need("file.py", "f", "all", takes=("a",))
    assert (compare(need, source.strip()) is None) == (definitions(source.strip()).keys() >= {"f"})


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
    return made + [source.replace(word, f"renamed_{word}") for word in (*need.takes, *need.keywords)]


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

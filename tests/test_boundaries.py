"""Which folder may import what: nodes -> the core (ipadapter, encoders, masks...); ComfyUI is imported in nodes only.

Every folder may read what a family of models is, what blocks a model has, and what a prompt asks of its weights.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = tuple(f"pack.ipadapter.{name}" for name in ("errors", "families", "sites", "weights"))  # light: no torch
CORE = ("ipadapter", "encoders", "weight_schedules", "charts", "masks", "demo_models", "model_files", "doctor")
READS = {  # folder: what it imports beside itself
    "charts": ("pack.weight_schedules",),
    "doctor": ("pack.ipadapter", "pack.encoders"),
    "encoders": ("pack.ipadapter",),
}
HOST = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "nodes", "server")
FILES = [path for folder in CORE for path in sorted((ROOT / folder).rglob("*.py"))]


def name(path):
    return path.relative_to(ROOT).as_posix()


def imports(path, source=None):
    """Absolute modules, and relative ones as parts from the pack's root, that a file imports anywhere in it."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(source or path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = ("pack", *package[: len(package) + 1 - node.level])
            tail = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (".".join((*base, part)) for part in tail)


def test_there_is_something_to_check():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(CORE)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_core_never_imports_the_host(path):
    assert [module for module in imports(path) if module.split(".")[0] in HOST] == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_core_packages_import_only_themselves(path):
    folder = path.relative_to(ROOT).parts[0]
    inside, reads = f"pack.{folder}", READS.get(folder, ())
    ours = [module for module in imports(path) if module.startswith("pack") or module.split(".")[0] in CORE]
    assert [module for module in ours if not module.startswith((inside, *SHARED, *reads))] == []


@pytest.mark.parametrize("module", SHARED)
def test_what_every_folder_may_import_imports_no_torch_and_only_its_like(module):
    path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
    assert set(imports(path)) <= {"collections.abc", "dataclasses", "typing", *SHARED}


@pytest.mark.parametrize("path", sorted((ROOT / "nodes").rglob("*.py")), ids=name)
def test_only_the_sampling_wing_touches_transformer_options(path):
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    words = {getattr(node, field, None) for node in nodes for field in ("id", "attr", "value", "arg")}
    assert path.parent.name == "sampling" or not any(word == "transformer_options" for word in words)


@pytest.mark.parametrize("path", [ROOT / "__init__.py", *FILES, *sorted((ROOT / "nodes").rglob("*.py"))], ids=name)
def test_the_pack_imports_itself_relatively(path):
    """The folder may have any name when ComfyUI loads it, so `import ipadapter` would only work by accident."""
    assert [module for module in imports(path) if module.split(".")[0] in CORE] == []


def test_imports_are_found_wherever_they_hide():
    path = ROOT / "ipadapter" / "hidden.py"
    lines = ("import comfy.ops", "from ..masks.grid import x", "from . import cache", "from ..nodes import y")
    source = "\n    ".join(("def f():", *lines))
    assert list(imports(path, source)) == ["comfy.ops", "pack.masks.grid", "pack.ipadapter.cache", "pack.nodes"]

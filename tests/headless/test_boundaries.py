"""Batches are separate from the pack: ComfyUI never imports them, and they import neither ComfyUI, nodes nor tests."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
OTHERS = {"comfy", "comfy_api", "execution", "folder_paths", "nodes", "server", "harness", "tests", "ipadapter"}
LATE = {"ray", "pyarrow", "playwright", "torch"}  # extras, and a module whose import takes seconds


def modules(tree):
    for node in tree:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or ".").split(".")[0] if not node.level else f".{node.module or node.names[0].name}"


def parse(file):
    return ast.parse(file.read_text("utf-8"))


def test_it_imports_neither_comfyui_nor_nodes_nor_tests_and_extras_late():
    files = sorted((ROOT / "headless").glob("*.py"))
    assert len(files) > 10
    for file in files:
        assert not OTHERS & set(modules(ast.walk(parse(file)))), file.name
        assert not LATE & set(modules(parse(file).body)), file.name


def test_nothing_that_comfyui_loads_imports_it():
    packs = [folder for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()]
    loaded = [f for f in packs if f.name not in ("headless", "tests", "benchmarks", "training", "scripts", "output")]
    files = [ROOT / "__init__.py", *(file for folder in loaded for file in folder.rglob("*.py"))]
    assert len(files) > 40
    for file in files:
        assert not any("headless" in name for name in modules(ast.walk(parse(file)))), file

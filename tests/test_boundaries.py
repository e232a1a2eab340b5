"""Which folder may import what, and what modules may keep: the rules of docs/architecture.md, read from the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
SHARED = tuple(f"pack.ipadapter.{name}" for name in ("errors", "families", "sites", "weights"))  # light: no torch
CORE = ("ipadapter", "encoders", "weight_schedules", "charts", "masks", "demo_models", "model_files", "doctor")
READS = {  # folder: what it imports beside itself
    "charts": ("pack.weight_schedules",),
    "doctor": ("pack.ipadapter", "pack.encoders"),
    "encoders": ("pack.ipadapter",),
}
HOST = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "nodes", "server")
FILES = [path for folder in CORE for path in sorted((ROOT / folder).rglob("*.py"))]
NODES = sorted((ROOT / "nodes").rglob("*.py"))
STATEFUL = {  # calls that give something which is filled later
    "ContentCache", "SharedFiles", "WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "OrderedDict", "defaultdict",
    "WeakIdKeyDictionary", "LiveTensors", "dict", "list", "set", "deque", "count", "Lock", "RLock", "local",
    "ContextVar", "Queue", "ThreadPoolExecutor",
}  # fmt: skip
PACK = [ROOT / "__init__.py", *FILES, *NODES]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, source: str = "") -> Iterator[str]:
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


def test_the_core_imports_neither_the_host_nor_other_folders_than_the_rules_allow():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(CORE)
    wrong = []
    for path in FILES:
        folder = path.relative_to(ROOT).parts[0]
        allowed = (f"pack.{folder}", *SHARED, *READS.get(folder, ()))
        for module in imports(path):
            of_host = module.split(".")[0] in HOST
            if of_host or (module.startswith("pack") and not module.startswith(allowed)):
                wrong.append(f"{name(path)} imports {module}")
    assert wrong == []


def test_what_every_folder_may_import_imports_no_torch_and_only_its_like():
    for module in SHARED:
        path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
        assert set(imports(path)) <= {"collections.abc", "dataclasses", "typing", *SHARED}, module


def test_the_pack_imports_itself_relatively_and_no_transformers():
    """ComfyUI loads the pack under any folder name, so `import ipadapter` would find it by accident only. It brings
    transformers 4 or 5 for its text encoders; training/ alone imports that, and ComfyUI never imports training/.
    """
    forbidden = (*CORE, "transformers")
    absolute = [(path, module) for path in PACK for module in imports(path) if module.split(".")[0] in forbidden]
    wrong = [f"{name(path)} imports {module}" for path, module in absolute]
    assert wrong == []


def test_only_sampling_knows_how_an_attention_patch_is_made():
    """Nodes attach image prompts through nodes/sampling/attach.py; the patches and what they share are its own."""
    doors = {"attach", "recorder", "reference_weights", "riding", "face_control"}  # the last is a ControlNet
    wrong = []
    for path in NODES:
        if path.parent.name != "sampling":
            inside = [module.split(".")[3] for module in imports(path) if module.startswith("pack.nodes.sampling.")]
            wrong += [f"{name(path)} imports sampling/{module}" for module in inside if module not in doors]
    assert wrong == []


def is_state(value: ast.expr | None) -> bool:
    """Whether a module-level name with that value is there to be filled while ComfyUI runs."""
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).split(".")[-1] in STATEFUL
    return isinstance(value, ast.Dict | ast.List) and not ast.unparse(value).strip("{}[]")


def kept_by(tree: ast.Module) -> set[str]:
    """Names of a module that keep something from one run to the next: stores, cached functions, assigned globals."""
    kept = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    for node in tree.body:
        if isinstance(node, ast.Assign) and is_state(node.value):
            kept |= {ast.unparse(target) for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and is_state(node.value):
            kept.add(ast.unparse(node.target))
    for node in ast.walk(tree):
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
        if any(re.search(r"\b(lru_)?cache\b", ast.unparse(decorator)) for decorator in decorators):
            kept.add(node.name)  # type: ignore[attr-defined]
    return kept


def test_modules_keep_between_runs_what_the_architecture_says_and_nothing_else():
    start = ARCHITECTURE.index("## State between runs")
    table = ARCHITECTURE[start : ARCHITECTURE.index("## ", start + 3)]
    said = {(file, one) for file, names in re.findall(r"`([\w/]+\.py): ([\w ]+)`", table) for one in names.split()}
    found = {(name(path), one) for path in PACK for one in kept_by(tree_of(path))}
    assert sorted(found - said) == [], "kept, and not in the table of docs/architecture.md"
    assert sorted(said - found) == [], "in the table of docs/architecture.md, and not kept"


def test_state_is_found_in_every_form_that_it_takes():
    source = """
TABLE = {"a": 1}
STORE: dict = {}
seen = collections.OrderedDict()
@functools.lru_cache(maxsize=4)
def looked_up(): ...
def count():
    global counter
    local = {}
"""
    assert kept_by(ast.parse(source)) == {"STORE", "seen", "looked_up", "counter"}


def test_imports_are_found_wherever_they_hide():
    path = ROOT / "ipadapter" / "hidden.py"
    lines = ("import comfy.ops", "from ..masks.grid import x", "from . import cache", "from ..nodes import y")
    source = "\n    ".join(("def f():", *lines))
    assert list(imports(path, source)) == ["comfy.ops", "pack.masks.grid", "pack.ipadapter.cache", "pack.nodes"]

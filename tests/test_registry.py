"""What the registry bans packs for cannot happen with the built package (docs/registry.md has the classes)."""

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host import find_comfyui
from tasks.packaging import package

# Where the package writes, and why that is within bounds. `calls` finds every other place.
WRITES = {
    "ipadapter/embeds_file.py": "saved embeds: ComfyUI's output folder, under a name of ipadapter/names.py",
    "model_files/fetch.py": "downloads: a model folder, under a name of model_files/names.py",
    "model_files/transfer.py": "downloads: the part beside the file",
    "model_files/packs.py": "face packs: plain names, within bounds of size",
    "nodes/loading/downloads.py": "downloads: makes the model folder",
    "nodes/loading/demo_models.py": "the demo's vision config, in a temporary folder: ComfyUI reads it from a file",
    "nodes/live/route.py": "a PNG into memory",
}  # fmt: skip
WRITING = {
    "write_bytes", "write_text", "save", "mkdir", "makedirs", "touch", "copyfile", "copyfileobj",
    "copytree", "move", "rename", "unlink", "rmtree", "rmdir", "symlink_to", "hardlink_to", "chmod", "extractall",
}  # fmt: skip
NETWORK = {
    "urllib.request", "http", "requests", "httpx", "httpcore", "aiohttp", "socket", "ssl", "ftplib", "smtplib",
    "websockets", "websocket", "huggingface_hub", "torch.hub", "gdown", "wget", "paramiko",
}  # fmt: skip


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    with zipfile.ZipFile(package(folder)) as files:
        files.extractall(folder / "pack")
    return folder / "pack"


def sources(folder: Path, pattern: str = "*.py") -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file.read_text("utf-8") for file in sorted(folder.rglob(pattern))}


def calls(source: str) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))


def writes(source: str) -> list[str]:
    """Calls that write, move or remove files, or open one for that."""
    found = []
    for call in calls(source):
        called = ast.unparse(call.func)
        owner, _, name = called.rpartition(".")
        modes = [part for part in (*call.args, *(keyword.value for keyword in call.keywords)) if mode_of(part)]
        if called in ("os.replace", "save_file") or (owner and name in WRITING):
            found.append(ast.unparse(call))
        elif name == "open" and any(set(mode_of(part)) & set("wax+") for part in modes):
            found.append(ast.unparse(call))
    return found


def mode_of(node: ast.AST) -> str:
    """Every mode that an argument of `open` may stand for."""
    texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return "".join(text for text in texts if re.fullmatch("[rwaxbt+]{1,3}", text))


def imported(source: str) -> set[str]:
    """Modules that a file imports, with the names that come from them."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_files_are_written_in_the_places_that_are_listed_and_nowhere_else(unpacked: Path):
    found = {name: lines for name, source in sources(unpacked).items() if (lines := writes(source))}
    assert {name: lines for name, lines in found.items() if name not in WRITES} == {}
    assert sorted(found) == sorted(WRITES)


def test_what_writes_is_found():
    lines = ("open(a, 'w')", "p.open('xb')", "p.open(mode='ab' if b else 'wb')", "os.replace(a, b)", "p.write_text('')")
    assert [len(writes(line)) for line in lines] == [1] * len(lines)
    assert writes("open(a)") + writes("p.open('rb')") + writes("text.replace('w', 'x')") == []


def test_names_that_lead_out_of_a_folder_are_refused_by_the_package(unpacked: Path, tmp_path: Path):
    """By both of its rooms of names, in a process that has this package only."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from model_files.names import target; from ipadapter.names import inside;"
        "folder = Path(sys.argv[2]); names = json.load(sys.stdin); taken = []\n"
        "for refuse in (target, inside):\n"
        "    for name in names:\n"
        "        try: path = refuse(folder, name)\n"
        "        except ValueError: continue\n"
        "        taken.append(str(path))\n"
        "print(json.dumps(taken))"
    )
    (tmp_path / "models").mkdir()
    hostile = ["../a.py", "..\\a.py", "/etc/a.py", "C:\\a.py", "a/../../b.py", "..", "a\0.py", "../custom_nodes/a.py"]
    command = [sys.executable, "-c", code, str(unpacked), str(tmp_path / "models")]
    done = subprocess.run(command, input=json.dumps(hostile), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_it_talks_to_a_network_in_the_download_and_in_no_other_file(unpacked: Path):
    network = tuple(f"{name}." for name in NETWORK)
    talks = {
        name: {module for module in imported(source) if f"{module}.".startswith(network)}
        for name, source in sources(unpacked).items()
    }
    found = {name: modules for name, modules in talks.items() if modules}
    assert set(found) == {"model_files/remote.py", "model_files/transfer.py", "nodes/live/route.py"}
    assert found["nodes/live/route.py"] == {"aiohttp", "aiohttp.web"}  # answers; it asks no server


def test_its_one_route_draws_and_changes_no_file(unpacked: Path):
    routes = {
        name: re.findall(r"routes\.(\w+)\(|\.(add_\w+)\(PATH|add_static", source)
        for name, source in sources(unpacked).items()
        if re.search(r"\.routes\.\w+\(|router\.add|add_static|add_routes", source)
    }
    assert routes == {"nodes/live/route.py": [("post", "")]}
    live = {name: writes(source) for name, source in sources(unpacked).items() if name.startswith("nodes/live/")}
    assert {name: lines for name, lines in live.items() if lines} == {
        "nodes/live/route.py": ["draw(_read(body)).save(stream, 'PNG', compress_level=1)"]
    }


def test_files_are_read_without_running_what_is_in_them(unpacked: Path):
    loads = {}
    for name, source in sources(unpacked).items():
        for call in calls(source):
            called = ast.unparse(call.func)
            if re.search(r"^(torch|numpy|np|joblib)\.load$|(pickle|yaml|dill|marshal)\.", called):
                loads[f"{name}:{call.lineno}"] = ast.unparse(call)
    assert len(loads) >= 4 and [line for line in loads.values() if "weights_only=True" not in line] == []


def test_pages_run_no_text_as_code_and_ask_only_comfyui(unpacked: Path):
    scripts = sources(unpacked, "*.js")
    suspect = re.compile(
        r"\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write|https?://|\bfetch\(|XMLHttp|\bimport\("
    )
    found = {name: lines for name, source in scripts.items() if (lines := suspect.findall(source))}
    assert scripts and found == {}


AUDIT = """
import asyncio, importlib.util, os, sys
host, folder = sys.argv[1:]
sys.path.insert(0, host)
import utils.extra_config
from comfy.cli_args import args
args.cpu = True
import comfy.sd, comfy.clip_vision, comfy.samplers, nodes, server, folder_paths, comfy_api.latest, node_helpers
import comfy_execution.validation, transformers, numpy.random
seen = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
                 "os.fork", "os.remove", "os.rename", "os.mkdir", "shutil.rmtree", "urllib.Request", "ctypes.dlopen"):
        if not any(str(part).endswith(".pyc") or "__pycache__" in str(part) for part in arguments):
            seen.append((event, str(arguments)[:200]))
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        if "__pycache__" not in str(arguments[0]):
            seen.append((event, str(arguments)[:200]))
sys.addaudithook(hook)
spec = importlib.util.spec_from_file_location("built", folder + "/__init__.py", submodule_search_locations=[folder])
module = sys.modules["built"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
async def load():
    extension = await module.comfy_entrypoint()
    await extension.on_load()
    return await extension.get_node_list()
count = len(asyncio.run(load()))
print("AUDIT", count, seen)
"""


def test_importing_it_starts_no_program_opens_no_connection_and_writes_no_file(unpacked: Path):
    if (host := find_comfyui()) is None:
        pytest.skip("needs ComfyUI: set COMFYUI_PATH")
    # Python's own cache of compiled modules is no file of the pack's.
    environment = os.environ | {"PYTHONPATH": "", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", AUDIT, str(host), str(unpacked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    found = re.search(r"^AUDIT (\d+) (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stderr[-2000:]
    assert int(found[1]) > 60 and found[2] == "[]"

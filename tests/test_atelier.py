"""The set-up, as far as it can be tried without installing packages."""

import io
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness import serve
from tasks import checks, comfyui, environment
from tasks.common import Environment
from tasks.installing import Bar, Progress, explain, run_logged

ROOT = Path(__file__).parents[1]
NONE = Environment(Path("no environment"))


def make_archive(file: Path, **members: str) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(f"package/vendor/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return file


def make_comfyui(folder: Path) -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    return folder


def test_it_unpacks_one_folder_of_an_archive(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", **{"ComfyUI/main.py": "run", "other.txt": "no"})
    comfyui.unpack(archive, "package/vendor/ComfyUI/", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").rglob("*")] == ["main.py"]
    assert (tmp_path / "out" / "main.py").read_text() == "run"


def test_a_file_that_would_land_outside_is_refused_and_nothing_is_left(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", **{"ComfyUI/../../../evil.py": "no"})
    with pytest.raises(SystemExit, match="outside its folder"):
        comfyui.unpack(archive, "package/vendor/ComfyUI/", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.py")) and not (tmp_path / "deep" / "out").exists()


def test_a_comfyui_that_is_named_goes_before_the_one_around_the_pack(tmp_path, monkeypatch):
    host, named = make_comfyui(tmp_path / "host"), make_comfyui(tmp_path / "named")
    monkeypatch.setattr(comfyui, "ROOT", host / "custom_nodes" / "pack")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    assert comfyui.find_comfyui(None, NONE) == host
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert comfyui.find_comfyui(None, NONE) == named
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "nothing"))
    with pytest.raises(SystemExit, match="no ComfyUI"):
        comfyui.find_comfyui(None, NONE)


def test_a_version_that_is_asked_for_goes_before_everything_else(tmp_path, monkeypatch):
    cached = make_comfyui(tmp_path / "pack" / ".cache" / "comfyui-0.16.3")
    monkeypatch.setattr(comfyui, "ROOT", tmp_path / "pack")
    monkeypatch.setattr(comfyui, "CACHE", tmp_path / "pack" / ".cache")
    monkeypatch.setenv("COMFYUI_PATH", str(make_comfyui(tmp_path / "named")))
    assert comfyui.find_comfyui("0.16.3", NONE) == cached


def names(lists):
    """Packages of lists and of those that they include."""
    return {environment.name_of(line) for file in lists for line in environment.requirements(file)}


def test_each_task_installs_what_it_runs_on_and_no_more():
    assert names(environment.lists_of("demo", [])) == {"torch", "torchvision", "torchaudio"}
    serve = names(environment.lists_of("serve", []))
    assert {"insightface", "scikit-image"} <= serve and not {"pytest", "ray", "playwright", "diffusers"} & serve
    assert "ray" not in names(environment.lists_of("batch", ["graph.json"]))
    assert "ray" in names(environment.lists_of("batch", ["graph.json", "--ray=auto"]))
    everything = names(environment.lists_of("test", []))
    for task in environment.BY_TASK:
        assert names(environment.lists_of(task, ["--ray"])) <= everything, task


def test_a_comfyui_of_the_users_decides_the_versions_of_what_it_names(tmp_path):
    host = tmp_path / "requirements.txt"
    host.write_text("torch\ntransformers<5\nPyYAML\nopen-clip-torch>=2\n")
    relaxed = environment.relaxed(environment.lists_of("test", []), host, tmp_path / "ours.txt").read_text().split("\n")
    found = {environment.name_of(line) for line in relaxed if line}
    assert not {"torch", "transformers", "open-clip-torch"} & found and {"torchvision", "pytest", "ray"} <= found
    assert environment.environment_of(tmp_path).folder != environment.environment_of(tmp_path / "other").folder


def test_an_environment_whose_making_was_interrupted_is_made_again(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(environment.venv, "create", lambda folder, **_: made.append(folder))
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)  # no uv, which needs no pip
    half = Environment(tmp_path)
    packages = half.folder / ("Lib/site-packages" if half.python.suffix else "lib/python3.11/site-packages")
    for file in (half.python, packages / "pip" / "__init__.py"):
        file.parent.mkdir(parents=True)
        file.touch()
    environment.make(half)
    assert made == [tmp_path]
    (packages / "pip-24.0.dist-info").mkdir()
    (packages / "pip-24.0.dist-info" / "RECORD").touch()
    environment.make(half)
    assert made == [tmp_path]


def test_serve_opens_no_page_of_another_program(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["serve", "--port", str(port)])
        with pytest.raises(SystemExit, match=f"Port {port} is taken.*--port {port + 1}"):
            serve.main()


# Lines as pip and uv write them where they fail, and the beginning of what the user reads.
FAILURES = {
    "ERROR: Could not find a version that satisfies the requirement torch==2.11.0 (from versions: none)\n"
    "ERROR: No matching distribution found for torch==2.11.0": "a package was not found for Python",
    "WARNING: Retrying after connection broken by 'NewConnectionError(...): [Errno -3] Temporary failure in name "
    "resolution'\nERROR: No matching distribution found for torch==2.11.0": "the package index did not answer",
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device": "the disk is full",
    "error: Failed to fetch: `https://pypi.org/simple/torch/`\n  Caused by: dns error": "the package index did not",
    "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed'))": "the certif",
    "ERROR: Something new": "Something new.",
}


def test_what_fails_is_said_with_what_to_do():
    for lines, said in FAILURES.items():
        progress = Progress(1)
        for line in lines.splitlines():
            progress.read(line)
        assert explain(progress).startswith(said), lines


def test_progress_is_read_from_what_pip_and_uv_write():
    pip, uv = Progress(50), Progress(50)
    for line in (
        "Collecting torch==2.11.0 (from -r torch.txt (line 2))", "  Downloading torch-2.11.0.whl.metadata (29 kB)",
        "  Downloading torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl (530.6 MB)", "Collecting numpy",
        "  Using cached numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl (16.9 MB)",
    ):  # fmt: skip
        pip.read(line)
    assert (pip.files, pip.packages, pip.installing) == (2, 50, False)
    pip.read("Installing collected packages: numpy, torch")
    assert (pip.packages, pip.installing) == (2, True)
    for line in ("Resolved 102 packages in 2.10s", "Downloading torch (506.0MiB)", "Downloading triton (100.0MiB)"):
        uv.read(line)
    assert uv.shown(0, 0) == (0, 606 * 2**20, "0 of 635 MB fetched")
    uv.read(" Downloaded torch")
    assert uv.shown(0, 0) == (506 * 2**20, 606 * 2**20, "531 of 635 MB fetched")
    assert uv.shown(51, uv.arrived) == (51, 102, "51 of 102 installed, 531 MB")


@pytest.mark.parametrize("columns", [200, 80, 60, 20])
def test_a_bar_stays_within_the_terminal(columns, monkeypatch, capsys):
    """Else the line wraps, and every change of it is a new line."""
    monkeypatch.setenv("COLUMNS", str(columns))
    bar = Bar("PyTorch and packages, with pip")
    bar.live = True
    bar.show(51, 102, "51 of 102 installed, 2652 MB")
    (line,) = capsys.readouterr().out.split("\r\x1b[2K")[1:]
    assert len(line) < columns and ("[#" in line) == (columns >= 80) and ("51 of 102" in line) == (columns >= 60)


def test_a_command_that_fails_ends_the_set_up_with_its_reason_and_the_log(tmp_path, capsys):
    log = tmp_path / "setup.log"
    with pytest.raises(SystemExit, match="Packages: No such option.*setup.log"):
        run_logged([sys.executable, "-c", "print('ERROR: No such option'); raise SystemExit(2)"], "Packages", log)
    assert "ERROR: No such option" in log.read_text() and "failed" in capsys.readouterr().out


def test_a_folder_without_a_comfyui_is_refused_before_an_environment_is_made(tmp_path):
    command = [sys.executable, str(ROOT / "atelier.py"), "test", "--comfyui", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "There is no ComfyUI (main.py, comfy/)" in done.stderr and done.stdout == ""


def test_types_are_checked_only_where_the_release_is_whose_types_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checks, "CACHE", tmp_path)
    make_comfyui(tmp_path / "comfyui-0.16.3")
    assert checks.start_pyright(Path(sys.executable)) is None
    assert f"Types are not checked: they are those of ComfyUI {comfyui.NEWEST}" in capsys.readouterr().out
    make_comfyui(tmp_path / f"comfyui-{comfyui.NEWEST}")
    commands = []
    monkeypatch.setattr(checks.subprocess, "Popen", lambda command, **_: commands.append(command))
    checks.start_pyright(Path(sys.executable))
    assert ["pyright" in command for command in commands] == [True]

"""The check of a ComfyUI against what the pack relies on: on every release, and on copies that were broken by hand."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.client import PromptError
from harness.demo import FIRST, FIRST_WORD, DemoServer
from harness.demo_graph import Drawing, Follow, draw
from harness.process import ComfyUI
from pack.doctor.host import CHANGED, GONE, check_host, compare, report, warn_of_gaps
from pack.doctor.host_needs import ALL, FLUX, MMDIT, NEEDS, UNET, Need
from pack.ipadapter.errors import AdapterError
from tasks.comfyui import COMFYUI, NEWEST, fetch_comfyui, is_comfyui
from tasks.common import CACHE, Environment

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Environment(Path(sys.prefix))


@pytest.fixture(scope="module")
def releases() -> dict[str, Path]:
    """Every release that can be fetched; those that are not in .cache yet are."""
    folders = {version: CACHE / f"comfyui-{version}" for version in COMFYUI}
    for version, folder in folders.items():
        if not is_comfyui(folder):
            fetch_comfyui(version, folder, ENVIRONMENT)
    return folders


def test_every_release_has_all_that_the_pack_relies_on_since_that_release(releases):
    without = {version: [gap.detail for gap in check_host(folder).gaps] for version, folder in releases.items()}
    assert without == dict.fromkeys(COMFYUI, []) | {"0.16.3": ['"attn1_patch"']}
    assert all(check_host(folder).broken == () for folder in releases.values())


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


def test_every_need_is_missed_when_any_part_of_it_is_renamed(releases):
    kept = [
        f"{need.file}: {need.name or need.texts}, part {number}"
        for need in NEEDS
        for number, source in enumerate(broken_by(need, (releases[NEWEST] / need.file).read_text("utf-8")))
        if compare(need, source) is None
    ]
    assert kept == []
    assert [need.file for need in NEEDS if (gap := compare(need, None)) is None or gap.state != GONE] == []


# A file, what is changed in it into what; what the check says of it, and which models' image prompts are refused.
BREAKS = {
    "a renamed hook": (
        "comfy/patcher_extension.py", "    APPLY_MODEL =", "    CALL_MODEL =", "WrappersMP.APPLY_MODEL", ALL,
    ),
    "a changed signature": (
        "comfy/model_patcher.py", "attn2_replace(self, patch, block_name,", "attn2_replace(self, block_name, patch,",
        "ModelPatcher.set_model_attn2_replace(block_name, patch, number, transformer_index), which the pack calls as "
        "(patch, block_name, number, transformer_index),", (UNET,),
    ),
    "a lost keyword": (
        "comfy/ldm/modules/attention.py", "def attention_pytorch(q, k, v, heads, mask=None, attn_precision=None, "
        "skip_reshape=False, skip_output_reshape=False, **kwargs)", "def attention_pytorch(q, k, v, heads, mask=None)",
        "attention_pytorch(q, k, v, heads, mask), which the pack calls as (q, k, v, heads, attn_precision=, "
        "skip_reshape=, skip_output_reshape=),", ALL,
    ),
    "a lost option": (
        "comfy/samplers.py", 'transformer_options["uuids"]', 'transformer_options["cond_ids"]',
        'transformer_options["uuids"]', ALL,
    ),
    "a hook of Flux and SD3.5": (
        "comfy/ldm/modules/attention.py", '"optimized_attention_override"', '"attention_override"',
        '"optimized_attention_override"', (FLUX, MMDIT),
    ),
    "what image prompts do without": (
        "comfy/sd.py", "def load_lora_for_models(", "def load_loras(", "load_lora_for_models", (),
    ),
}  # fmt: skip


def copy_needed(host: Path, folder: Path) -> Path:
    for file in {need.file for need in NEEDS} | {"main.py"}:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(host / file, folder / file)
    return folder


def test_what_was_broken_is_told_by_name_with_the_models_whose_image_prompts_are_refused(releases, tmp_path):
    for number, (what, (file, old, new, told, structures)) in enumerate(BREAKS.items()):
        copy = copy_needed(releases[NEWEST], tmp_path / str(number))
        source = (copy / file).read_text("utf-8")
        assert old in source, what
        (copy / file).write_text(source.replace(old, new), "utf-8")
        checked = check_host(copy)
        (gap,) = checked.broken
        assert (gap.state, gap.detail) == (CHANGED if "which the pack calls" in told else GONE, told), what
        assert tuple(name for name in ALL if checked.refused(name)) == structures, what
        assert f"({file}) is {gap.state}. Does not work: {gap.need.lost}." in report(checked), what


def test_image_prompts_are_refused_by_name_in_the_models_that_a_change_would_draw_wrong(
    releases, tmp_path, monkeypatch
):
    pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")
    import pack.nodes.host as running
    import transformer_rig as transformers
    from performance.rig import Rig

    rig = Rig("two layers")
    follow = {
        UNET: lambda: rig.follow(rig.bare()),
        FLUX: lambda: transformers.follow_kind("XLabs Flux"),
        MMDIT: lambda: transformers.follow_kind("InstantX SD3.5"),
    }
    for number, (file, old, new, told, structures) in enumerate(BREAKS.values()):
        copy = copy_needed(releases[NEWEST], tmp_path / str(number))
        (copy / file).write_text((copy / file).read_text("utf-8").replace(old, new), "utf-8")
        monkeypatch.setattr(running, "running_host", lambda copy=copy: check_host(copy))
        for structure, attach in follow.items():
            if structure not in structures:
                attach()
                continue
            with pytest.raises(AdapterError, match=re.escape(told)):
                attach()


def test_a_release_with_a_known_fault_and_an_old_pytorch_are_named(releases, tmp_path, caplog, monkeypatch):
    copy = copy_needed(releases[NEWEST], tmp_path)
    for release, faulty in {"0.30.2": False, "0.31.0": True, "0.31.1": True, "0.32.0": False, "0.46.0": False}.items():
        (copy / "comfyui_version.py").write_text(f'__version__ = "{release}"\n', "utf-8")
        check_host.cache_clear()
        lines = [line for line in report(check_host(copy)).splitlines() if "#15506" in line]
        assert [line.strip().partition(":")[0] for line in lines] == ([f"ComfyUI {release}"] if faulty else [])
        caplog.clear()
        warn_of_gaps(copy)
        assert ("#15506" in caplog.text) == faulty
    for version, old in {"2.5.1+cu124": True, "2.6.0": True, "2.7.0a0": False, "2.11.0": False, "3.0": False}.items():
        monkeypatch.setattr("torch.__version__", version)
        caplog.clear()
        warn_of_gaps(releases[NEWEST])
        assert (f"PyTorch {version} is older than 2.7" in caplog.text) == old, version


def test_the_command_needs_no_packages_and_ends_with_1_where_something_is_broken(releases, tmp_path):
    copy = copy_needed(releases[NEWEST], tmp_path)
    (copy / "comfy" / "patcher_extension.py").unlink()
    command = [sys.executable, "-I", "-S", str(ROOT / "atelier.py"), "host"]
    whole = subprocess.run([*command, str(releases[NEWEST])], capture_output=True, text=True)
    broken = subprocess.run([*command, str(copy)], capture_output=True, text=True)
    assert (whole.returncode, broken.returncode) == (0, 1), whole.stderr + broken.stderr
    assert whole.stdout.endswith(f"{len(NEEDS)} of {len(NEEDS)} needs are met.\n")
    assert "WrappersMP.APPLY_MODEL (comfy/patcher_extension.py) is gone. Does not work: image prompts." in broken.stdout


class Broken(DemoServer):
    """A ComfyUI whose sources were changed, so it starts in a process of its own."""

    def __init__(self, host: Path) -> None:
        super().__init__()
        self.host = host

    def launch(self, arguments: list[str]):
        return ComfyUI.launch(self, arguments)


@pytest.mark.usefixtures("start_server")  # skips without ComfyUI
def test_a_running_comfyui_says_at_start_what_it_lost_and_draws_no_wrong_picture(releases, tmp_path):
    """A renamed hook, a changed signature and a lost option, as a release with all three would have them."""
    copy = tmp_path / "comfyui"
    shutil.copytree(releases[NEWEST], copy, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    renamed = {
        "WrappersMP.APPLY_MODEL (comfy/patcher_extension.py) is gone": (
            "patcher_extension.py", "APPLY_MODEL", "CALL_MODEL"
        ),
        "WrappersMP.APPLY_MODEL (comfy/model_base.py) is gone": (
            "model_base.py", "WrappersMP.APPLY_MODEL", "WrappersMP.CALL_MODEL"
        ),
        'transformer_options["cond_or_uncond"] (comfy/samplers.py) is gone': (
            "samplers.py", '["cond_or_uncond"]', '["branches"]'
        ),
        "(comfy/model_patcher.py) is changed": (
            "model_patcher.py", "attn2_replace(self, patch, block_name,", "attn2_replace(self, block_name, patch,"
        ),
    }  # fmt: skip
    for file, old, new in renamed.values():
        source = copy / "comfy" / file
        source.write_text(source.read_text("utf-8").replace(old, new), "utf-8")
    with Broken(copy) as server:
        lines = [line for line in server.log.splitlines() if "has no longer what the IPAdapter nodes rely on" in line]
        assert [sum(told in line for line in lines) for told in renamed] == [1] * len(lines) == [1] * 4
        with pytest.raises(PromptError, match="has changed what image prompts in this model rely on.*cond_or_uncond"):
            server.run(draw(Drawing(FIRST_WORD, (Follow(FIRST),)))[0])
        assert not list(server.output.rglob("*.png"))

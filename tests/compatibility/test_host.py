"""The check of a ComfyUI against what the pack relies on: on every release, and on copies that were broken by hand."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pack.doctor.host import CHANGED, GONE, check_host, report, warn_of_gaps
from pack.doctor.host_needs import ALL, FLUX, MMDIT, NEEDS, REFERENCES, UNET, UNET_REFERENCES
from pack.ipadapter.errors import AdapterError, ModelMismatchError
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
    checked = {version: check_host(folder) for version, folder in releases.items()}
    assert {version: [gap.detail for gap in found.gaps] for version, found in checked.items()} == {
        "0.30.0": [],
        "0.27.0": ['"block_index"'],  # of Krea 2
        "0.24.0": ["SingleStreamDiT"],
        "0.20.1": ["'causal_anchor_index'", "SingleStreamDiT"],
        "0.18.2": ["'causal_anchor_index'", "SingleStreamDiT"],
        "0.16.3": ["'causal_anchor_index'", '"attn1_patch"', "SingleStreamDiT"],
    }
    assert all(found.broken == () for found in checked.values())
    assert [name for name in ("SingleStreamDiT", *ALL) if checked["0.27.0"].refused(name)] == ["SingleStreamDiT"]
    assert '"block_index" (comfy/ldm/krea2/model.py) came with ComfyUI 0.30.0' in report(checked["0.27.0"])
    assert '"attn1_patch" (comfy/ldm/flux/layers.py) is not there. Another way:' in report(checked["0.16.3"])


QWEN = "QwenImageTransformer2DModel"
# A file, what is changed in it into what; what the check says of it, and what is refused.
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
        "attention_pytorch(q, k, v, heads, mask), which the pack calls as (q, k, v, heads, mask, attn_precision=, "
        "skip_reshape=, skip_output_reshape=),", ALL,
    ),
    "a lost option": (
        "comfy/samplers.py", 'transformer_options["uuids"]', 'transformer_options["cond_ids"]',
        'transformer_options["uuids"]', ALL,
    ),
    "a hook of Flux and SD3.5": (
        "comfy/ldm/modules/attention.py", '"optimized_attention_override"', '"attention_override"',
        '"optimized_attention_override"', (FLUX, MMDIT, REFERENCES),
    ),
    "a hook of self-attentions": (
        "comfy/ldm/modules/attention.py", '"attn1"', '"self_attention"', '"attn1"', (UNET_REFERENCES,),
    ),
    "a renamed function of references": (
        "comfy/sampler_helpers.py", "def convert_cond(", "def to_conds(", "convert_cond", (UNET_REFERENCES, REFERENCES),
    ),
    "an option of one family": (
        "comfy/ldm/qwen_image/model.py", '"block_index"', '"layer"', '"block_index"', (QWEN,),
    ),
    "a parameter that has no place any more": (
        "comfy/model_patcher.py", "def set_attachments(self, key: str, attachment)",
        "def set_attachments(self, *, key: str, attachment)",
        "ModelPatcher.set_attachments(*, key, attachment), which the pack calls as (key, attachment),", ALL,
    ),
    "a renamed part of UNets": (
        "comfy/ldm/modules/attention.py", "self.dim_head", "self.head_width", "self.dim_head", (UNET,),
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
        assert tuple(name for name in (*ALL, QWEN) if checked.refused(name)) == structures, what
        assert f"({file}) is {gap.state}. Does not work: {gap.need.lost}." in report(checked), what


def test_image_prompts_and_references_are_refused_by_name_in_the_models_that_a_change_would_draw_wrong(
    releases, tmp_path, monkeypatch, caplog
):
    pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")
    import pack.nodes.host as running
    import transformer_rig as transformers
    from pack.nodes.applying.references import weigh_references
    from pack.nodes.applying.riding import Looks, ride_along
    from performance.rig import Rig
    from references.edit_models import MODELS, model_of
    from test_nodes_pack.standins import seeded

    rig = Rig("two layers")
    edit_model = next(kind for kind in MODELS.values() if type(model_of(kind).model.diffusion_model).__name__ == QWEN)
    follow = {
        UNET: lambda: rig.follow(rig.bare()),
        FLUX: lambda: transformers.follow_kind("XLabs Flux"),
        MMDIT: lambda: transformers.follow_kind("InstantX SD3.5"),
        UNET_REFERENCES: lambda: ride_along(rig.bare(), {"samples": seeded((1, 4, 8, 8), 3)}, None, Looks()),
        REFERENCES: lambda: weigh_references(transformers.tiny_model("flux"), 0, 0.5, 0.0, 1.0),
        QWEN: lambda: weigh_references(model_of(edit_model), 0, 0.5, 0.0, 1.0),
    }
    for number, (file, old, new, told, structures) in enumerate(BREAKS.values()):
        copy = copy_needed(releases[NEWEST], tmp_path / str(number))
        (copy / file).write_text((copy / file).read_text("utf-8").replace(old, new), "utf-8")
        monkeypatch.setattr(running, "running_host", lambda copy=copy: check_host(copy))
        for part, attach in follow.items():
            if part not in structures and not (part == QWEN and REFERENCES in structures):
                attach()
                continue
            with pytest.raises(AdapterError, match=re.escape(told)):
                attach()
            monkeypatch.setenv("ATELIER_ANY_COMFYUI", "1")
            caplog.clear()
            attach()
            assert told in caplog.text and "Pictures may be wrong." in caplog.text
            monkeypatch.delenv("ATELIER_ANY_COMFYUI")


def test_a_model_whose_parts_were_renamed_is_called_changed_and_not_another_model(releases, tmp_path, monkeypatch):
    pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")
    import pack.nodes.host as running
    from pack.nodes.sampling.attach import sites_of
    from performance.rig import Rig

    model = Rig("two layers").bare()
    monkeypatch.delitem(model.model.diffusion_model._modules, "input_blocks")
    with pytest.raises(ModelMismatchError, match="needs a UNet with cross-attention"):
        sites_of(model)
    copy = copy_needed(releases[NEWEST], tmp_path)
    source = copy / "comfy" / "ldm" / "modules" / "diffusionmodules" / "openaimodel.py"
    source.write_text(source.read_text("utf-8").replace("self.input_blocks", "self.down_blocks"), "utf-8")
    monkeypatch.setattr(running, "running_host", lambda: check_host(copy))
    with pytest.raises(AdapterError, match="lacks what image prompts rely on, or has changed it: self.input_blocks"):
        sites_of(model)


def test_a_note_is_in_the_log_where_comfyui_has_no_function_that_shows_it(releases, tmp_path, monkeypatch, caplog):
    execution = pytest.importorskip("comfy_execution.utils", reason="needs ComfyUI: set COMFYUI_PATH")
    import pack.nodes.host as running
    from pack.nodes.notices import say_notes

    copy = copy_needed(releases[NEWEST], tmp_path)
    source = copy / "comfy_execution" / "utils.py"
    source.write_text(source.read_text("utf-8").replace("get_executing_context", "executing_context"), "utf-8")
    monkeypatch.setattr(running, "running_host", lambda: check_host(copy))
    monkeypatch.delattr(execution, "get_executing_context")
    say_notes(["The reference was cut."])
    assert "The reference was cut." in caplog.text


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
    told = "WrappersMP.APPLY_MODEL (comfy/patcher_extension.py) is gone. Does not work: image prompts and references"
    assert told in broken.stdout

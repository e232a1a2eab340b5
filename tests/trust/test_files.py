"""Files that are damaged, hostile, or full of what are no numbers: each is refused by its name, in a line or two."""

import pickle
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import synthetic
from pack.ipadapter.checkpoint import read_checkpoint, read_file
from pack.ipadapter.embeds_file import FORMAT, load_embeds
from pack.ipadapter.errors import AdapterError, CheckpointError
from pack.model_files.errors import DownloadError
from pack.model_files.formats import check_format


def adapter() -> dict[str, Any]:
    sizes: dict[str, Any] = {"context": 32, "channels": synthetic.sd15_channels(16), "pooled": 8}
    return synthetic.adapter("standard", seed=1, **sizes)


class Program:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    torch.save({"image_proj": Program()}, tmp_path / "hostile.ipadpt")
    (tmp_path / "plain.ipadpt").write_bytes(pickle.dumps(Program()))
    yield tmp_path
    assert not (tmp_path / "executed").exists()


READERS: dict[str, Callable[[Path], Any]] = {
    "adapters": read_file,
    "embeds": load_embeds,
    "downloads": lambda path: check_format(path, path.name),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["hostile.ipadpt", "plain.ipadpt"])
def test_nobody_is_told_to_run_what_is_in_a_pickle(hostile, reader, name):
    with pytest.raises((AdapterError, DownloadError), match=name) as error:
        READERS[reader](hostile / name)
    told = "".join(traceback.format_exception(error.value))  # what ComfyUI writes into its log
    assert "weights_only" not in told and "arbitrary code" not in told


def test_an_encoder_s_pickle_is_read_in_the_same_way(hostile):
    pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI")
    from pack.nodes.loading.openclip import load_openclip

    with pytest.raises(CheckpointError, match="hostile.ipadpt cannot be read.*never run") as error:
        load_openclip(hostile / "hostile.ipadpt", "auto", "auto", "auto", "auto")
    assert "weights_only" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("suffix", [".bin", ".safetensors", ".SAFETENSORS", ".sft"])
def test_a_file_cut_anywhere_is_called_damaged_in_a_line(tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".bin":
        torch.save(adapter(), whole)
    else:
        flat = {f"{g}.{key}": tensor for g, part in adapter().items() for key, tensor in part.items()}
        save_file(flat, whole)
    content, cut = whole.read_bytes(), tmp_path / f"cut{suffix}"
    for length in (*range(40), *range(40, len(content) - 1, len(content) // 60)):
        cut.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=f"cut{suffix} cannot be read") as error:
            read_file(cut)
        assert len(str(error.value)) < 500


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_adapter_with_a_weight_that_is_no_number_is_refused_by_the_weight_s_name(value, dtype):
    state = adapter()
    state = {g: {key: tensor.to(dtype) for key, tensor in part.items()} for g, part in state.items()}
    state["ip_adapter"]["5.to_v_ip.weight"][3, 2] = value
    with pytest.raises(CheckpointError, match=r"mine is no adapter.*5.to_v_ip.weight holds.*not numbers"):
        read_checkpoint(state, "mine")


@pytest.mark.parametrize("version", ["0", "2", "²", "１", "9" * 5000, "-1", "1.0", " 1", ""])
def test_only_known_versions_of_embeds_are_read(tmp_path, version):
    path = tmp_path / "a.ipadpt.safetensors"
    save_file({"embeds": torch.ones(1, 8)}, path, {"format": FORMAT, "version": version})
    with pytest.raises(AdapterError, match="a.ipadpt.safetensors was saved in version") as error:
        load_embeds(path)
    assert len(str(error.value)) < 400


def test_embeds_in_8_bits_are_read(tmp_path):
    embeds, path = torch.tensor([[1.0, -0.5, 0.25]]), tmp_path / "a.ipadpt.safetensors"
    save_file({"embeds": embeds.to(torch.float8_e4m3fn)}, path, {"format": FORMAT, "version": "1"})
    assert load_embeds(path).equal(embeds)


def test_a_file_that_is_cut_after_it_was_read_does_no_harm(tmp_path):
    """With a memory map, reading what is gone ends the whole program."""
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(2**18)}, path)
    tensors, _ = read_file(path)
    path.open("r+b").truncate(100)
    assert tensors["x"].sum() == 2**18


@pytest.fixture
def demo(tmp_path, monkeypatch):
    pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI")
    from pack.nodes.loading import demo_models

    shutil.copytree(demo_models.FOLDER, tmp_path / "demo", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(demo_models, "FOLDER", tmp_path / "demo")
    return demo_models


PARTS = {
    "unet.safetensors": ("load_model", "load_words"),
    "vision.safetensors": ("load_vision",),
    "vae.safetensors": ("DemoVAE",),
    "texts.safetensors": ("DemoTexts",),
}


@pytest.mark.parametrize(("name", "load"), [(name, load) for name, loads in PARTS.items() for load in loads])
def test_a_damaged_demo_file_is_named(demo, name, load):
    path = demo.FOLDER / name
    tensors = demo.read(name)
    prefix = {"load_model": "unet.", "load_words": "words."}.get(load, "")
    save_file({key: t for key, t in tensors.items() if key != next(k for k in tensors if k.startswith(prefix))}, path)
    with pytest.raises(AdapterError, match=f"{name} is damaged"):
        getattr(demo, load)()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(AdapterError, match=f"{name} is damaged"):
        getattr(demo, load)()
    path.unlink()
    with pytest.raises(AdapterError, match=f"{name} is missing"):
        getattr(demo, load)()


def test_a_damaged_demo_picture_is_named(demo):
    picture = next((demo.FOLDER / "references").glob("*.png"))
    for content in (b"", picture.read_bytes()[:200], b"GIF89a"):
        picture.write_bytes(content)
        with pytest.raises(AdapterError, match=f"{picture.name} is damaged"):
            demo.load_reference(picture.stem)


def test_loading_the_demo_draws_no_random_numbers(demo):
    before = torch.get_rng_state()
    for load in (demo.load_model, demo.load_words, demo.load_vision, demo.DemoVAE, demo.DemoTexts):
        load()
        assert torch.get_rng_state().equal(before), load

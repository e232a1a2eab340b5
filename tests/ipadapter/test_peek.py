"""What a file is, told by its header."""

import pytest
import torch
from safetensors.torch import save_file

import synthetic
from pack.ipadapter.peek import EncoderSizes, describe, peek, peek_adapter, peek_encoder, peek_lora_width

SMALL = {"channels": synthetic.sd15_channels(8), "face_hidden": 16, "rank": 2}


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pt"])
def test_an_adapter_is_told_in_every_format_without_reading_its_values(tmp_path, suffix):
    path = tmp_path / f"faceid{suffix}"
    nested = synthetic.adapter("FaceID", **SMALL)
    if suffix == ".pt":
        torch.save(nested, path, _use_new_zipfile_serialization=False)  # as files before 2020 were written
    else:
        synthetic.save(nested, path)
    config = peek_adapter(path)
    assert config is not None and (config.variant, config.family, config.has_lora) == ("FaceID", "sd15", True)
    values = list(peek(path).values())
    tensors = values if suffix == ".safetensors" else [tensor for group in values for tensor in group.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert describe(path) == f"faceid{suffix} (FaceID for sd15)"


@pytest.mark.parametrize("content", [b"", b"half a download", b"\x80\x02}q\x00."], ids=["empty", "text", "pickle"])
@pytest.mark.parametrize("name", ["a.safetensors", "a.bin"])
def test_damaged_and_empty_files_are_nothing(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert peek_adapter(path) is None and peek_encoder(path) is None and peek_lora_width(path) is None
    assert describe(path) == f"{name} (not understood)"


def test_a_pickle_that_would_run_code_is_nothing(tmp_path):
    torch.save({"image_proj": print}, tmp_path / "evil.bin")
    assert peek(tmp_path / "evil.bin") == {}


def test_encoders_are_told_under_both_families_of_names(tmp_path):
    transformers = {
        "visual_projection.weight": torch.zeros(6, 8),
        "vision_model.embeddings.position_embedding.weight": torch.zeros(5, 8),
    }
    for prefix in ("", "visual."):
        openclip = {f"{prefix}proj": torch.zeros(8, 6), f"{prefix}positional_embedding": torch.zeros(5, 8)}
        for name, tensors in (("hf", transformers), ("openclip", openclip)):
            save_file(tensors, tmp_path / f"{name}.safetensors")
            assert peek_encoder(tmp_path / f"{name}.safetensors") == EncoderSizes(pooled=6, hidden=8, tokens=5)

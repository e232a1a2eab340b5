"""SDXL's anime families are told by a checkpoint's name and metadata, and only adapters of the base model warn."""

from dataclasses import replace

import torch
from safetensors.torch import save_file

import synthetic
from pack.ipadapter.base_models import anime_base_of_file, warning
from pack.ipadapter.catalog import ANIME
from pack.ipadapter.checkpoint import read_checkpoint
from pack.ipadapter.published import NOOBAI_STYLE


def test_a_checkpoint_says_its_family_in_its_name_or_its_metadata(tmp_path):
    files = {
        "noobaiXL_v10.safetensors": ({}, "NoobAI"),
        "Illustrious-XL-v2.0.safetensors": ({}, "Illustrious"),
        "WAI_v14.safetensors": ({}, "Illustrious"),
        "ponyDiffusionV6XL.safetensors": ({}, "Pony"),
        "mine_vpred.safetensors": ({}, "v-prediction"),
        "mine.safetensors": ({"modelspec.prediction_type": "v"}, "v-prediction"),
        "noob_v.safetensors": ({"modelspec.prediction_type": "v"}, "NoobAI"),
        "titled.safetensors": ({"modelspec.title": "A mix of NoobAI"}, "NoobAI"),
        "sd_xl_base_1.0.safetensors": ({"modelspec.prediction_type": "epsilon"}, None),
        "wainscot.safetensors": ({}, None),
    }
    wrong = {}
    for name, (metadata, base) in files.items():
        save_file({"a": torch.zeros(1)}, tmp_path / name, metadata)
        if (found := anime_base_of_file(tmp_path / name)) != base:
            wrong[name] = found
    save_file({"a": torch.zeros(1), "v_pred": torch.zeros(0)}, tmp_path / "merge.safetensors")
    assert wrong == {} and anime_base_of_file(tmp_path / "merge.safetensors") == "v-prediction"
    (tmp_path / "pony.safetensors").write_bytes(b"half a download")
    assert anime_base_of_file(tmp_path / "pony.safetensors") == "Pony"


def test_only_an_sdxl_adapter_of_the_base_model_on_an_anime_model_warns():
    def config(context):
        channels = synthetic.sdxl_channels(8, (1, 2)) if context == 2048 else synthetic.sd15_channels(8)
        return read_checkpoint(synthetic.adapter("plus", context=context, channels=channels, device="meta"), "a").config

    sdxl, sd15 = config(2048), config(768)
    line = warning("ip-adapter-plus_sdxl_vit-h.safetensors", sdxl, "noob.safetensors", "NoobAI")
    assert line.startswith("noob.safetensors seems to be a NoobAI model, and ip-adapter-plus_sdxl") and ANIME in line
    for adapter, made_for, base in (
        ("ip-adapter-plus_sdxl_vit-h.safetensors", sdxl, None), ("noobIPAMARK1_mark1.safetensors", sdxl, "NoobAI"),
        ("ip_adapter_Noobtest_800000.bin", sdxl, "Illustrious"), ("ip-adapter-plus_sd15.safetensors", sd15, "Pony"),
        ("styleIpadapterFor_v10.safetensors", replace(sdxl, variant=NOOBAI_STYLE), "NoobAI"),
    ):  # fmt: skip
        assert warning(adapter, made_for, "the model", base) == "", adapter

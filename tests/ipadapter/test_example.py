"""README's example of the core without ComfyUI: it runs, and gives what diffusers' own IP-Adapter gives."""

import re
from pathlib import Path
from typing import Any

import torch

import judge
import synthetic
from scripts.diffusers_unet import follow

from .test_diffusers import SIZES, features, small_unet

ROOT = Path(__file__).parents[2]


def predict(unet, dtype=torch.float32):
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    text = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(6))
    more = {"added_cond_kwargs": {"image_embeds": [features(1)["pooled"][:, None].expand(2, -1, -1)]}}
    return unet(noisy.to(dtype), 10, text.to(dtype), **(more if unet.encoder_hid_proj else {})).sample


def test_the_example_equals_diffusers(tmp_path):
    plain, theirs = (small_unet() for _ in range(2))
    theirs.load_state_dict(plain.state_dict())
    without = predict(plain)
    sizes: dict[str, Any] = SIZES | {"channels": judge.channels_of(plain)}
    adapter = synthetic.adapter("standard", seed=0, **sizes)
    synthetic.save(adapter, tmp_path / "adapter.safetensors")
    judge.load(theirs, [adapter])
    follow(plain, tmp_path / "adapter.safetensors", features(1)["pooled"])
    torch.testing.assert_close(predict(plain), predict(theirs), rtol=0, atol=1e-5)  # float32, sums in another order
    assert (predict(plain) - without).abs().max() > 1e-3


def test_files_of_any_precision_work_under_a_unet_of_any_other(tmp_path):
    """A file in half precision, and one of float32 projection over half layers, as some training scripts write them."""
    state = small_unet().state_dict()
    sizes: dict[str, Any] = SIZES | {"channels": judge.channels_of(small_unet())}
    whole = synthetic.adapter("standard", seed=0, **sizes)
    half = {group: {key: x.half() for key, x in tensors.items()} for group, tensors in whole.items()}
    for name, tensors in (("whole", whole), ("half", half), ("mixed", {**whole, "ip_adapter": half["ip_adapter"]})):
        synthetic.save(tensors, tmp_path / f"{name}.safetensors")

    def picture(dtype, name=""):
        unet = small_unet()
        unet.load_state_dict(state)
        unet.to(dtype)
        if name:
            follow(unet, tmp_path / f"{name}.safetensors", features(1)["pooled"])
        return predict(unet, dtype).float()

    far = {}
    for dtype in (torch.float32, torch.bfloat16):
        without, expected = picture(dtype), picture(dtype, "whole")
        for name in ("half", "mixed"):
            error = (picture(dtype, name) - expected).abs().mean() / (expected - without).abs().mean()
            far[name, dtype] = float(error)
    # Half precision rounds weights to 11 bits. bfloat16 rounds every result to 8, before and behind what they change.
    limits = {torch.float32: 0.002, torch.bfloat16: 0.1}
    assert {case for case, share in far.items() if share > limits[case[1]]} == set(), far


def test_readme_shows_the_example_as_it_is():
    shown = re.search(r"```python\n(class Follow.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert shown, "README shows no example of the core"
    source = (ROOT / "scripts" / "diffusers_unet.py").read_text("utf-8")
    code = re.sub(r'\n *""".*?"""\n\n?|  # noqa[^\n]*', lambda match: "\n" if '"""' in match[0] else "", source)
    squeezed = re.sub(r"\s+", " ", code)
    assert re.sub(r"\s+", " ", shown[1]).strip() in squeezed

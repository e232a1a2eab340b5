"""The patch on one cross-attention, against what the reference implementation computes there."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

from comfy.model_sampling import ModelSamplingDiscrete

from pack.ipadapter.attention import SCALINGS
from pack.ipadapter.image_prompt import ImagePrompt, KeysValues
from pack.ipadapter.sites import Site
from pack.nodes.applying.sources import Stored
from pack.nodes.sampling.hooks import Hooks
from pack.nodes.sampling.unet import ImagePromptPatch
from pack.weight_schedules.layers import weigh_layers
from pack.weight_schedules.schedule import of_layers

REFERENCE = Path(__file__).parents[1] / "reference"
CASES = json.loads((REFERENCE / "attention.json").read_text())
TENSORS = load_file(REFERENCE / "attention.safetensors")
SD15 = tuple(
    tuple(block) for block in json.loads((REFERENCE / "layer_weights.json").read_text())["families"]["sd15"]["blocks"]
)


def reference_prompt(case: dict, tensors: dict) -> ImagePrompt:
    weight = case["weight"]
    frames = tuple(weight) if isinstance(weight, list) else ()
    layers = weigh_layers(case["weight_type"], 1.0 if frames else weight, SD15)
    pair = KeysValues(*(
        tuple(tensors[tokens] @ tensors[to].T for to in ("to_k_ip", "to_v_ip"))
        for tokens in ("image_tokens", "negative_image_tokens")
    ))  # fmt: skip
    return ImagePrompt(
        source=Stored(dict.fromkeys(range(len(SD15)), pair), dict.fromkeys(range(len(SD15)))),
        weights=of_layers(layers, frames),
        scaling=case["embeds_scaling"],
        mask=tensors.get("mask"),
        per_frame=case["unfold_batch"],
    )


def call_options(case: dict) -> dict:
    return {
        "n_heads": case["heads"],
        "cond_or_uncond": case["cond_or_uncond"],
        "activations_shape": [case["latent_shape"][0], 16, *case["grid"]],
        "original_shape": case["latent_shape"],
        "sigmas": torch.tensor([1.0]),
        "ad_params": {"sub_idxs": case["context_window"], "full_length": case["full_length"]},
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_layer_gives_what_the_reference_gives(case):
    tensors = {key.split(".", 1)[1]: value for key, value in TENSORS.items() if key.split(".", 1)[0] == case["name"]}
    prompt = reference_prompt(case, tensors)
    channels = tensors["q"].shape[-1]
    site = Site(case["layer"], tuple(case["block"]), 0, 1, case["heads"], channels, tensors["to_k_ip"].shape[1])
    patch = ImagePromptPatch(site, case["layer"], Hooks((prompt,), ModelSamplingDiscrete()), (prompt,))

    out = patch(tensors["q"], tensors["k"], tensors["v"], call_options(case))

    torch.testing.assert_close(out, tensors["out"], rtol=0, atol=1e-5)  # float32 sums in another order


def test_the_channel_penalty_falls_with_narrow_layers_and_ends_at_1_in_wide_ones():
    """The reference cases are all narrow; layers of Flux are 3072 wide."""
    for width, share in ((320, 0.25), (640, 0.5), (1280, 1.0), (3072, 1.0)):
        k, v = torch.randn(2, 1, 4, width, generator=torch.Generator().manual_seed(width))
        found, expected = SCALINGS["K+V w/ C penalty"](k, v, 0.5), SCALINGS["K+V"](k, v, 0.5 * share)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True)), width

"""The LoRA inside a FaceID checkpoint, judged by diffusers."""

from typing import Any

import pytest
import torch

import synthetic
from pack.ipadapter.errors import ModelMismatchError
from pack.ipadapter.lora import lora_state_dict

pytest.importorskip("comfy.model_patcher")
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
from diffusers import UNet2DConditionModel  # noqa: E402  # pyright: ignore[reportPrivateImportUsage]

from pack.ipadapter.checkpoint import read_checkpoint  # noqa: E402
from pack.nodes.loading.adapters import manage  # noqa: E402
from pack.nodes.loading.face_lora import apply_face_lora  # noqa: E402
from test_nodes_pack.neighbours import REPLACEMENTS  # noqa: E402
from test_nodes_pack.unets import tiny_model  # noqa: E402

RANK = 4
FAMILIES = {
    "sd15": dict(
        block_out_channels=(32, 64, 128, 128), attention_head_dim=8, cross_attention_dim=768, layers_per_block=2,
        down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
    ),
    "sdxl shallow": dict(
        block_out_channels=(32, 64, 128), attention_head_dim=(1, 2, 4), cross_attention_dim=2048, layers_per_block=2,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 2), transformer_layers_per_block=(1, 1, 2),
        up_block_types=(*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"), use_linear_projection=True,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request):
    """ComfyUI's model, diffusers' UNet of the same shape, and LoRA halves as a FaceID checkpoint holds them."""
    unet = UNet2DConditionModel(norm_num_groups=32, **FAMILIES[request.param])
    generator = torch.Generator().manual_seed(0)
    halves = {}
    for number, name in enumerate(unet.attn_processors):
        attention: Any = unet.get_submodule(name.removesuffix(".processor"))
        for linear in ("to_q", "to_k", "to_v", "to_out"):
            rows, columns = (attention.to_out[0] if linear == "to_out" else getattr(attention, linear)).weight.shape
            halves[f"{number}.{linear}_lora.down.weight"] = torch.randn(RANK, columns, generator=generator)
            halves[f"{number}.{linear}_lora.up.weight"] = torch.randn(rows, RANK, generator=generator)
    return tiny_model(request.param, seed=0), unet, halves


def test_the_effective_weights_equal_those_of_diffusers(family):
    model, unet, halves = family
    strength = 0.6
    named = lora_state_dict(halves, model.model.diffusion_model)
    patched = comfy.sd.load_lora_for_models(model, None, named, strength, 0)[0]
    judge = unet._load_ip_adapter_loras([{"ip_adapter": halves}])[0]
    keys = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    patched.patch_model()
    try:
        after = {name: value.clone() for name, value in model.model.state_dict().items()}
    finally:
        patched.unpatch_model()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    expected = set()
    for key in judge:
        if not key.endswith("down.weight"):
            continue
        module, linear = key.removeprefix("unet.").removesuffix("_lora.down.weight").split(".processor.")
        name = "diffusion_model." + keys[f"{module}.{linear}{'.0' if linear == 'to_out' else ''}.weight"]
        delta = judge[key.removesuffix("down.weight") + "up.weight"] @ judge[key]
        torch.testing.assert_close(after[name], before[name] + strength * delta)
        expected.add(name)
    assert changed == expected and len(expected) * 2 == len(halves)


def test_every_half_is_used(family):
    model, _, halves = family
    named = lora_state_dict(halves, model.model.diffusion_model)
    assert len(named) == len(halves)
    assert sum(key.endswith("to_out.0.lora_up.weight") for key in named) == len(halves) // 8


def test_a_lora_of_another_family_is_an_error_that_names_what_does_not_fit(family):
    _, _, halves = family
    other = tiny_model("sd15", seed=0, channels=64)
    with pytest.raises(ModelMismatchError, match="does not fit this model|do not line up"):
        lora_state_dict(halves, other.model.diffusion_model)


def test_something_else_is_no_lora_half(family):
    model, _, halves = family
    with pytest.raises(ModelMismatchError, match="Not a LoRA half"):
        lora_state_dict(halves | {"0.to_q_lora.alpha": torch.ones(1)}, model.model.diffusion_model)


@pytest.mark.parametrize("pruned", ["ssd-1b", "vega", "koala"])
def test_a_pruned_unet_gets_the_halves_of_the_layers_that_it_has(pruned):
    widths = synthetic.sdxl_channels(32)
    halves = {}
    for number in range(2 * len(widths)):
        width = widths[number // 2]
        for linear in ("to_q", "to_k", "to_v", "to_out"):
            into = 2048 if number % 2 and linear in ("to_k", "to_v") else width
            halves[f"{number}.{linear}_lora.down.weight"] = torch.empty(RANK, into, device="meta")
            halves[f"{number}.{linear}_lora.up.weight"] = torch.empty(width, RANK, device="meta")
    unet = tiny_model(pruned, seed=0).model.diffusion_model
    named = lora_state_dict(halves, unet)
    linears = {f"diffusion_model.{name}" for name, _ in unet.named_parameters() if ".to_" in name and "weight" in name}
    assert {name.replace("lora_down.", "") for name in named if "down" in name} == linears


@pytest.mark.parametrize(("kind", "path"), [("Unpatched", ""), ("Around", ".attn2"), ("Projected", ".attn2")])
def test_a_lora_put_on_after_another_pack_replaced_modules_reaches_the_modules_of_the_model(kind, path, caplog):
    """ComfyUI leaves the modules of the last prompt on the shared model; they are no part of this prompt's clone."""
    widths = synthetic.sd15_channels(32)
    loaded = manage(read_checkpoint(synthetic.adapter("FaceID", channels=widths, face_hidden=16, rank=RANK), "a.bin"))
    model, other = tiny_model("sd15", seed=0), tiny_model("sd15", seed=0)
    theirs, block = model.clone(), f"diffusion_model.input_blocks.1.1.transformer_blocks.0{path}"
    theirs.add_object_patch(block, REPLACEMENTS[kind](theirs.get_model_object(block)))
    theirs.patch_model()
    left = model.model.get_submodule(block)
    assert type(left).__name__ == kind
    ours = apply_face_lora(model, loaded, 0.6)
    wanted = apply_face_lora(other, loaded, 0.6)
    assert ours.patches.keys() == wanted.patches.keys() and len(ours.patches) == 8 * len(widths)
    assert model.model.get_submodule(block) is left and caplog.text == "", "it is not ours to move"
    both = apply_face_lora(theirs, loaded, 0.6)  # a part of this clone
    lost = kind != "Projected"  # which has the attention's own projections
    assert both.patches.keys() == wanted.patches.keys()
    assert caplog.text.count(f"neighbours.{kind}, which lack weights of this LoRA") == (1 if lost else 0)

"""Cross-attention layers of real UNet classes, and the checkpoint keys that belong to them."""

from functools import cache

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import synthetic
from pack.ipadapter.errors import ModelMismatchError
from pack.ipadapter.matching import match_keys
from pack.ipadapter.sites import find_sites, layer_blocks
from test_nodes_pack import unets

# Key numbers of published UNets in execution order: of every layer of SD1.5, and of the first site of SDXL's layers.
SD15_KEYS = [1, 3, 5, 7, 9, 11, 31, 13, 15, 17, 19, 21, 23, 25, 27, 29]
SDXL_FIRST_KEYS = {0: 1, 1: 5, 2: 9, 3: 29, 4: 121, 5: 49, 6: 69, 7: 89, 8: 109, 9: 113, 10: 117}


@cache
def attentions_of(family: str):
    return find_sites(unets.tiny_model(family, seed=1).model.diffusion_model)


def keys_of(channels) -> dict[int, int]:
    return {2 * number + 1: width for number, width in enumerate(channels)}


def test_sd15_has_16_layers_in_execution_order():
    blocks = layer_blocks(attentions_of("sd15"))
    inputs, outputs = [("input", n) for n in (1, 2, 4, 5, 7, 8)], [("output", n) for n in range(3, 12)]
    assert list(blocks) == [*inputs, ("middle", 0), *outputs]


def test_sdxl_has_11_layers_and_70_cross_attentions():
    found = attentions_of("sdxl")
    inputs, outputs = [("input", n) for n in (4, 5, 7, 8)], [("output", n) for n in range(6)]
    assert list(layer_blocks(found)) == [*inputs, ("middle", 0), *outputs]
    assert len(found) == 70 and [a.depth for a in found if a.position == 0] == [2, 2, *[10] * 6, 2, 2, 2]


def test_the_middle_block_of_sd15_owns_the_last_key():
    assert list(match_keys(attentions_of("sd15"), keys_of(synthetic.sd15_channels(32)))) == SD15_KEYS


def test_the_middle_block_of_sdxl_owns_the_last_ten_keys():
    found = attentions_of("sdxl")
    numbers = match_keys(found, keys_of(synthetic.sdxl_channels(32)))
    assert list(numbers) == [SDXL_FIRST_KEYS[a.layer] + 2 * a.position for a in found]


@pytest.mark.parametrize("family", ["ssd-1b", "vega", "koala"])
def test_a_pruned_sdxl_takes_the_first_weights_of_every_level(family):
    found = attentions_of(family)
    numbers = match_keys(found, keys_of(synthetic.sdxl_channels(32)))
    first_of_level = {("input", 64): 1, ("input", 128): 9, ("output", 128): 49, ("output", 64): 109}
    for part, width in first_of_level:
        mine = [n for n, a in zip(numbers, found, strict=True) if (a.block[0], a.channels) == (part, width)]
        assert mine[0] == first_of_level[part, width] and sorted(set(mine)) == sorted(mine)


def test_an_adapter_of_another_depth_does_not_line_up():
    with pytest.raises(ModelMismatchError, match="has 16 cross-attention layers and the model 70"):
        match_keys(attentions_of("sdxl"), keys_of(synthetic.sd15_channels(32)))


def test_an_adapter_of_other_widths_does_not_line_up():
    with pytest.raises(ModelMismatchError, match="64 wide, it has weights 32 wide|32 wide, it has weights 64 wide"):
        match_keys(attentions_of("sd15"), keys_of(synthetic.sd15_channels(64)))


def test_a_model_that_is_no_unet_is_named():
    with pytest.raises(ModelMismatchError, match="this model is a Linear"):
        find_sites(torch.nn.Linear(1, 1))

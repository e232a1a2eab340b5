"""Samplers that put several tiles of a picture into one call of the model, on every structure: with areas, in context
windows, with a picture per latent, with masks.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytest.importorskip("comfy.model_patcher", reason="needs ComfyUI: set COMFYUI_PATH or run `python atelier.py test`")

import comfy.samplers

import transformer_rig
from harness.callers import tile_by_tile, tiles_in_one_call
from pack.nodes.applying.riding import Looks, ride_along
from performance.rig import Rig, in_windows
from test_nodes_pack.standins import POOLED, TOKENS, seeded

FRAMES, HEIGHT, WIDTH = 2, 16, 8
AREA = (HEIGHT, WIDTH // 2, 0, WIDTH // 2)  # the right half
UNET = Rig("two layers")  # on two grids, which is enough for masks


def unet(images: int, **more: Any) -> Any:
    return UNET.follow(UNET.bare(), images=images, per_frame=images > 1, **more)


def transformer(kind: str) -> Callable[..., Any]:
    def follow(images: int, **more: Any) -> Any:
        bare, loaded = transformer_rig.tiny_model(transformer_rig.FAMILY[kind]), transformer_rig.adapter(kind)
        embeds = transformer_rig.embeds(kind, images=images)
        return transformer_rig.follow(bare, loaded, embeds, per_frame=images > 1, **more)

    return follow


KINDS: dict[str, Callable[..., Any]] = {"UNet": unet, **{kind: transformer(kind) for kind in transformer_rig.FAMILY}}


def texts(kind: str, **more: Any) -> list[Any]:
    if kind != "UNet":
        return [transformer_rig.texts(transformer_rig.FAMILY[kind], seed, **more) for seed in (10, 20)]
    pooled = {"pooled_output": seeded((1, POOLED), 3)}
    return [[[seeded((1, TOKENS, 2048), seed), pooled | more]] for seed in (10, 20)]


def sampled(model: Any, kind: str, caller: Callable[..., Any], frames: int = 1, **more: Any) -> torch.Tensor:
    """A step at CFG 3 of a model that a pack calls in its own way: `caller(apply_model, arguments)`."""
    clone = model.clone()
    clone.set_model_unet_function_wrapper(caller)
    guider = comfy.samplers.CFGGuider(clone)
    guider.set_conds(*texts(kind, **more))
    guider.set_cfg(3.0)
    shape = (frames, 4 if kind == "UNet" else 16, HEIGHT, WIDTH)
    sigmas = torch.tensor([clone.get_model_object("model_sampling").percent_to_sigma(0.3), 0.0])
    with torch.inference_mode():
        return guider.sample(seeded(shape, 5), torch.zeros(shape), comfy.samplers.ksampler("euler"), sigmas, seed=5)


def plain_call(apply_model: Any, arguments: Any) -> torch.Tensor:
    return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_in_one_call_are_those_of_a_call_each(kind):
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, : HEIGHT // 2, WIDTH // 4 :] = 1
    cases = {
        "one picture": (KINDS[kind](1), {}),
        "an area": (KINDS[kind](1, mask=mask), {"area": AREA, "strength": 1.0}),
        "a picture per latent": (KINDS[kind](FRAMES), {"frames": FRAMES}),
        "context windows": (in_windows(KINDS[kind](FRAMES), 1, 0), {"frames": FRAMES}),
    }
    for title, (model, run) in cases.items():
        alone, together = (sampled(model, kind, caller, **run) for caller in (tile_by_tile, tiles_in_one_call))
        assert same(together, alone), title
        if title == "an area":  # where the least of the picture follows the reference
            none = sampled(KINDS[kind](1, weight=0.0), kind, tile_by_tile, **run)
            assert (alone - none).norm() > 0.005 * none.norm()


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal but for the rounding of an attention over more rows."""
    return torch.allclose(one, other, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_that_is_fitted_to_tiles_of_an_area_is_said_and_on_the_whole_area_it_is_not(kind, caplog):
    model = KINDS[kind](1, mask=torch.eye(8).unsqueeze(0))
    for area in (AREA, (HEIGHT, WIDTH, 0, WIDTH // 2)):  # the latter reaches beyond the canvas, and ComfyUI cuts it
        caplog.clear()
        sampled(model, kind, plain_call, area=area, strength=1.0)
        assert "attn_mask" not in caplog.text, area
        sampled(model, kind, tile_by_tile, area=area, strength=1.0)
        assert caplog.text.count("attn_mask was fitted to each part") == 1, area


def test_riding_references_act_in_tiles_of_one_call_as_in_those_of_a_call_each():
    model = ride_along(UNET.bare(), {"samples": seeded((1, 4, 8, 8), 3)}, None, Looks(layers="all"))
    for title, run in {"one picture": {}, "an area": {"area": AREA, "strength": 1.0}}.items():
        alone, together = (sampled(model, "UNet", caller, **run) for caller in (tile_by_tile, tiles_in_one_call))
        none = sampled(UNET.bare(), "UNet", tile_by_tile, **run)
        assert (alone - none).norm() > 0.005 * none.norm(), title
        assert same(together, alone), title

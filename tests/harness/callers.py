"""Packs that call the model in their own way: `caller(apply_model, arguments)` of `set_model_unet_function_wrapper`."""

from typing import Any

import torch


def half_of(value: Any, part: int) -> Any:
    """The upper or lower half of the latents' rows of pixels in what a call is given, other things as they are."""
    return value.chunk(2, dim=-2)[part] if isinstance(value, torch.Tensor) and value.ndim > 3 else value


def tile_by_tile(apply_model: Any, arguments: Any) -> torch.Tensor:
    """One call per half of the picture, with ComfyUI's own order of rows."""
    x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
    return torch.cat([apply_model(half_of(x, part), t, **c) for part in (0, 1)], dim=-2)


def tiles_in_one_call(apply_model: Any, arguments: Any) -> torch.Tensor:
    """Both halves in one call, each with all of its conditionings, as tiled samplers of other packs do."""
    x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
    tiles = torch.cat([half_of(x, part) for part in (0, 1)])
    more = {name: torch.cat([value] * 2) if isinstance(value, torch.Tensor) else value for name, value in c.items()}
    return torch.cat(apply_model(tiles, torch.cat([t] * 2), **more).chunk(2), dim=-2)

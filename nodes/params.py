"""Several regions in one go: each one's reference, mask and strength, gathered for IPAdapter from Params."""

from collections.abc import Mapping
from typing import Any

import node_helpers
from comfy_api.latest import io
from torch import Tensor

from ..ipadapter.errors import AdapterError
from . import inputs
from .apply_base import connected
from .old.names import AcceptsRenamed, current_name

Params = dict[str, list[Any]]
PARAMS: tuple[str, ...] = ("image", "attn_mask", "weight", "weight_type", "start_at", "end_at")


def region_of(conditioning: Any, mask: Tensor | None, strength: float) -> Any:
    """A conditioning that acts where the mask is white; as it is without a mask or without a conditioning."""
    if conditioning is None or mask is None:
        return conditioning
    masks = mask.unsqueeze(0) if mask.ndim == 2 else mask
    region = {"mask": masks, "set_area_to_bounds": False, "mask_strength": strength}
    return node_helpers.conditioning_set_values(conditioning, region)


def regions_of(params: Params) -> list[dict[str, Any]]:
    """The inputs of an apply node for every region that has a picture."""
    parts = [checked_params(params)[name] for name in PARAMS]
    regions = [dict(zip(PARAMS, values, strict=True)) for values in zip(*parts, strict=True)]
    return [connected(region) for region in regions if region["image"] is not None]


def checked_params(params: Any) -> Params:
    """What a params socket carries; AdapterError unless it is a list of the same length for each of PARAMS."""
    lists: list[Any] = [params.get(name) for name in PARAMS] if isinstance(params, Mapping) else []
    if {type(found) for found in lists} != {list} or len({len(found) for found in lists}) != 1:
        raise AdapterError("ipadapter_params needs regions from an IPAdapter Regional Conditioning node.")
    return params  # pyright: ignore[reportReturnType]


class IPAdapterRegionalConditioning(AcceptsRenamed):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterRegionalConditioning",
            display_name="IPAdapter Regional Conditioning",
            category="ipadapter/params",
            description="One region: a reference and, if you like, a text of its own, where the mask is white.",
            inputs=[
                inputs.image(),
                inputs.weight("image_weight", tooltip="How strongly the reference acts in its region."),
                inputs.weight("prompt_weight", minimum=0, maximum=10, tooltip="How strongly the text acts there."),
                inputs.weight_type(),
                *inputs.active_range(),
                io.Mask.Input("mask", optional=True, tooltip="White is the region. Without a mask: the whole picture."),
                io.Conditioning.Input("positive", optional=True, tooltip="Text that describes the region."),
                io.Conditioning.Input("negative", optional=True, tooltip="Text the region should not show."),
            ],
            outputs=[
                inputs.ParamsType.Output(display_name="IPADAPTER_PARAMS", tooltip="The region, for a params node."),
                io.Conditioning.Output(display_name="POSITIVE", tooltip="The positive text, limited to the region."),
                io.Conditioning.Output(display_name="NEGATIVE", tooltip="The negative text, limited to the region."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        image_weight: float = 1.0,
        prompt_weight: float = 1.0,
        weight_type: str = "linear",
        start_at: float = 0.0,
        end_at: float = 1.0,
        mask: Tensor | None = None,
        positive: Any = None,
        negative: Any = None,
    ) -> io.NodeOutput:
        values = (image, mask, image_weight, current_name(weight_type), start_at, end_at)
        params: Params = {name: [value] for name, value in zip(PARAMS, values, strict=True)}
        texts = [region_of(conditioning, mask, prompt_weight) for conditioning in (positive, negative)]
        return io.NodeOutput(params, *texts)


class IPAdapterCombineParams(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterCombineParams",
            display_name="IPAdapter Combine Params",
            category="ipadapter/params",
            description="Several regions as one list, in order.",
            inputs=[inputs.params(f"params_{number}", optional=number > 2) for number in range(1, 6)],
            outputs=[inputs.ParamsType.Output(display_name="IPADAPTER_PARAMS", tooltip="All regions in one list.")],
        )

    @classmethod
    def execute(cls, **params: Params) -> io.NodeOutput:
        connected = [checked_params(params[name]) for name in sorted(params) if params[name] is not None]
        return io.NodeOutput({name: [value for region in connected for value in region[name]] for name in PARAMS})


NODES: list[type[io.ComfyNode]] = [IPAdapterRegionalConditioning, IPAdapterCombineParams]

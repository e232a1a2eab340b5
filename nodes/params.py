"""Several regions, each with its reference, mask and strength, as a list for IPAdapter from Params."""

import node_helpers
from comfy_api.latest import io
from torch import Tensor

from . import inputs
from .apply_base import AcceptsRenamed
from .applying.apply import note_black_masks
from .old.methods import CombineMethod, ConditioningMethod
from .region_lists import Params, Region, joined
from .sockets import Conditioning, Weight


def region_of(conditioning: Conditioning | None, mask: Tensor | None, strength: float) -> Conditioning | None:
    """A conditioning that acts where the mask is white; unchanged without a mask."""
    if conditioning is None or mask is None:
        return conditioning
    masks = mask.unsqueeze(0) if mask.ndim == 2 else mask
    region = {"mask": masks, "set_area_to_bounds": False, "mask_strength": strength}
    return node_helpers.conditioning_set_values(conditioning, region)


class IPAdapterRegionalConditioning(AcceptsRenamed, ConditioningMethod):
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
    def run(
        cls,
        image: Tensor,
        image_weight: Weight = 1.0,
        prompt_weight: float = 1.0,
        weight_type: str = "linear",
        start_at: float = 0.0,
        end_at: float = 1.0,
        mask: Tensor | None = None,
        positive: Conditioning | None = None,
        negative: Conditioning | None = None,
    ) -> io.NodeOutput:
        note_black_masks([mask], "mask", "neither the reference nor the text of the region acts", "where the region is")
        region = Region(image, mask, image_weight, weight_type, start_at, end_at)
        params: Params = {name: [value] for name, value in region._asdict().items()}
        return io.NodeOutput(params, region_of(positive, mask, prompt_weight), region_of(negative, mask, prompt_weight))


class IPAdapterCombineParams(CombineMethod):
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
    def run(
        cls,
        params_1: Params,
        params_2: Params,
        params_3: Params | None = None,
        params_4: Params | None = None,
        params_5: Params | None = None,
    ) -> io.NodeOutput:
        given = (params_1, params_2, params_3, params_4, params_5)
        return io.NodeOutput(joined([params for params in given if params is not None]))


NODES: list[type[io.ComfyNode]] = [IPAdapterRegionalConditioning, IPAdapterCombineParams]

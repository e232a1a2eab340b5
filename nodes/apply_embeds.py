"""Apply embeds that were encoded before."""

from typing import Any

from comfy_api.latest import io

from . import inputs
from .apply import APPLY_TYPES
from .apply_base import ApplyNode, with_legacy_type
from .applying.apply import Request


class IPAdapterEmbeds(ApplyNode):
    display_name = "IPAdapter Embeds"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.__name__,
            display_name=cls.display_name,
            category="ipadapter/embeds",
            description="Apply embeds from IPAdapter Encoder, Combine Embeds or Load Embeds.",
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.embeds("pos_embed", "Encoded references."),
                inputs.weight(),
                inputs.weight_type(),
                *inputs.active_range(),
                inputs.embeds_scaling(),
                inputs.embeds("neg_embed", "Encoded pictures the result should not look like.", optional=True),
                inputs.attn_mask(),
                inputs.clip_vision(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )


class IPAdapterEmbedsBatch(IPAdapterEmbeds):
    display_name, per_frame = "IPAdapter Embeds Batch", True


class IPAdapterApplyEncoded(ApplyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterApplyEncoded",
            display_name="Apply IPAdapter from Encoded",
            category="ipadapter",
            description="Of workflows from before March 2024; new ones use IPAdapter Embeds.",
            is_deprecated=True,
            inputs=[
                inputs.ipadapter(),
                inputs.embeds("embeds", "Encoded references, with their negative in the same tensor or without."),
                inputs.model(),
                inputs.weight(),
                inputs.weight_type(APPLY_TYPES),
                *inputs.active_range(),
                inputs.unfold_batch(),
                inputs.attn_mask(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def requests(cls, **arguments: Any) -> list[Request]:
        embeds = arguments.pop("embeds")
        return super().requests(**with_legacy_type(arguments), pos_embed=embeds)


NODES: list[type[io.ComfyNode]] = [IPAdapterEmbeds, IPAdapterEmbedsBatch, IPAdapterApplyEncoded]

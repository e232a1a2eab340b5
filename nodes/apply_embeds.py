"""Apply embeds that were encoded before."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from . import inputs
from .apply_base import ApplyNode, strength_of
from .applying.apply import Request
from .applying.encoding import Reference


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

    @classmethod
    def request(cls, pos_embed: Tensor | None = None, neg_embed: Tensor | None = None, **strength: Any) -> Request:
        reference = Reference(embeds=pos_embed, negative_embeds=neg_embed, per_frame=cls.per_frame)
        return Request(reference, strength_of(**strength))


class IPAdapterEmbedsBatch(IPAdapterEmbeds):
    display_name, per_frame = "IPAdapter Embeds Batch", True


NODES: list[type[io.ComfyNode]] = [IPAdapterEmbeds, IPAdapterEmbedsBatch]

"""Apply embeds that were encoded before."""

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AppliedOutput
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference
from .old.methods import OwnApplyMethod
from .sockets import Adapter, ClipVision, Model, Weight


class IPAdapterEmbeds(OwnApplyMethod):
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
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        pos_embed: Tensor,
        weight: Weight = 1.0,
        weight_type: str = "linear",
        start_at: float = 0.0,
        end_at: float = 1.0,
        embeds_scaling: str = "V only",
        neg_embed: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        reference = Reference(embeds=pos_embed, negative_embeds=neg_embed, per_frame=cls.per_frame)
        strength = Strength(
            weight,
            weight_type,
            schedule=schedule,
            start_at=start_at,
            end_at=end_at,
            scaling=embeds_scaling,
            mask=attn_mask,
        )
        return AppliedOutput(apply_adapter(model, ipadapter, [Request(reference, strength)], clip_vision))


class IPAdapterEmbedsBatch(IPAdapterEmbeds):
    display_name, per_frame = "IPAdapter Embeds Batch", True


NODES: list[type[io.ComfyNode]] = [IPAdapterEmbeds, IPAdapterEmbedsBatch]

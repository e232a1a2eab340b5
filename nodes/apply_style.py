"""Style from one picture, composition from another, or one of the two alone."""

from comfy_api.latest import io

from . import inputs
from .apply_base import ApplyNode


class IPAdapterStyleComposition(ApplyNode):
    combines = True

    @classmethod
    def define_schema(cls) -> io.Schema:
        batch = "" if cls.combines else " Batch"
        return io.Schema(
            node_id=cls.__name__,
            display_name=f"IPAdapter Style & Composition{batch} SDXL",
            category="ipadapter/style_composition",
            description="Style from one picture and composition from another.",
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image("image_style", "Picture whose colours, texture and manner are followed."),
                inputs.image("image_composition", "Picture whose layout is followed."),
                inputs.weight("weight_style", maximum=5, tooltip="How strongly the style reference acts."),
                inputs.weight("weight_composition", maximum=5, tooltip="How strongly the composition reference acts."),
                inputs.expand_style(),
                *([inputs.combine_embeds("average")] if cls.combines else []),
                *inputs.active_range(),
                inputs.embeds_scaling(),
                *inputs.optional_images(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )


class IPAdapterStyleCompositionBatch(IPAdapterStyleComposition):
    per_frame, combines = True, False


class IPAdapterPreciseStyleTransfer(ApplyNode):
    display_name = "IPAdapter Precise Style Transfer"
    description = "Only the style of a picture: its composition is pushed away by style_boost."
    boost = staticmethod(inputs.style_boost)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.__name__,
            display_name=cls.display_name,
            category="ipadapter",
            description=cls.description,
            inputs=[
                inputs.model(),
                inputs.ipadapter(),
                inputs.image(),
                inputs.weight(maximum=5),
                cls.boost(),
                inputs.combine_embeds(),
                *inputs.active_range(),
                inputs.embeds_scaling(),
                *inputs.optional_images(),
                inputs.schedule(),
            ],
            outputs=[inputs.model_output()],
        )


class IPAdapterPreciseStyleTransferBatch(IPAdapterPreciseStyleTransfer):
    display_name, per_frame = "IPAdapter Precise Style Transfer Batch", True


class IPAdapterPreciseComposition(IPAdapterPreciseStyleTransfer):
    display_name = "IPAdapter Precise Composition"
    description = "Only the composition of a picture: its style is pushed away by composition_boost."
    boost = staticmethod(inputs.composition_boost)


class IPAdapterPreciseCompositionBatch(IPAdapterPreciseComposition):
    display_name, per_frame = "IPAdapter Precise Composition Batch", True


NODES: list[type[io.ComfyNode]] = [
    IPAdapterStyleComposition, IPAdapterStyleCompositionBatch,
    IPAdapterPreciseStyleTransfer, IPAdapterPreciseStyleTransferBatch,
    IPAdapterPreciseComposition, IPAdapterPreciseCompositionBatch,
]  # fmt: skip

"""The two halves of InstantID as separate nodes: the model's cross-attentions, and the ControlNet."""

from comfy_api.latest import io
from torch import Tensor

from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AcceptsRenamed
from .applying.apply import Strength, note_black_masks
from .applying.instantid import FaceControlRequest, apply_control, apply_identity, as_face_embeds, read_face_embeds
from .instantid_inputs import (
    CATEGORY,
    MASKS,
    TERMS,
    faces_of_image,
    identity_inputs,
    image_kps,
    layer_inputs,
    mask_input,
    mask_limits,
    noise_input,
    reference_of,
    texts,
    texts_out,
)
from .node import AtelierNode
from .sockets import Adapter, Conditioning, FaceModels, Model, Weight


class InstantIDAttentionPatch(AcceptsRenamed):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InstantIDAttentionPatch",
            display_name="InstantID Patch Attention",
            category=CATEGORY,
            description="The half of InstantID in the model's cross-attentions. The other half takes its face embeds.",
            search_aliases=TERMS,
            inputs=[
                *identity_inputs(control=False),
                inputs.weight(step=0.01),
                *inputs.active_range(),
                noise_input(),
                mask_input(),
                *layer_inputs(),
                *faces_of_image(),
            ],
            outputs=[
                inputs.model_output(),
                inputs.FaceEmbedsType.Output(
                    display_name="FACE_EMBEDS", tooltip="The face's tokens, for InstantID Apply ControlNet."
                ),
            ],
        )

    @classmethod
    def run(
        cls,
        instantid: Adapter,
        insightface: FaceModels,
        image: Tensor,
        model: Model,
        weight: Weight = 1.0,
        start_at: float = 0.0,
        end_at: float = 1.0,
        noise: float = 0.0,
        mask: Tensor | None = None,
        weight_type: str = "linear",
        layer_weights: str = "",
        schedule: Schedule | None = None,
        face: str = "largest",
        face_index: int = 0,
        least_score: float = 0.0,
    ) -> io.NodeOutput:
        reference = reference_of(image, face, face_index, least_score, "concat", noise)
        strength = Strength(
            weight,
            weight_type,
            layer_weights=layer_weights,
            schedule=schedule,
            start_at=start_at,
            end_at=end_at,
            mask=mask,
        )
        followed, tokens = apply_identity(model, instantid, insightface, reference, strength)
        return io.NodeOutput(followed, as_face_embeds(tokens))


class ApplyInstantIDControlNet(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ApplyInstantIDControlNet",
            display_name="InstantID Apply ControlNet",
            category=CATEGORY,
            description="The half of InstantID in its ControlNet, which sees a face in place of the text.",
            search_aliases=TERMS,
            inputs=[
                inputs.FaceEmbedsType.Input("face_embeds", tooltip="From InstantID Patch Attention."),
                io.ControlNet.Input("control_net", tooltip="InstantID's ControlNet, from Load ControlNet Model."),
                image_kps(optional=False),
                *texts(),
                inputs.weight("strength", maximum=10, minimum=0, step=0.01, tooltip="Strength of the ControlNet."),
                *inputs.active_range(),
                mask_input(),
                mask_limits(),
            ],
            outputs=texts_out(),
        )

    @classmethod
    def run(
        cls,
        face_embeds: object,
        control_net: object,
        image_kps: Tensor,
        positive: Conditioning,
        negative: Conditioning,
        strength: float = 1.0,
        start_at: float = 0.0,
        end_at: float = 1.0,
        mask: Tensor | None = None,
        mask_limits: str = "text and face",
    ) -> io.NodeOutput:
        note_black_masks([mask], "mask", "the ControlNet acts nowhere", "where the person is")
        control = FaceControlRequest(control_net, strength, masks_text=MASKS[mask_limits])
        where = Strength(start_at=start_at, end_at=end_at, mask=mask)
        tokens = read_face_embeds(face_embeds)
        return io.NodeOutput(*apply_control((positive, negative), control, image_kps, tokens, where))


NODES: list[type[io.ComfyNode]] = [InstantIDAttentionPatch, ApplyInstantIDControlNet]

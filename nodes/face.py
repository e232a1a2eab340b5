"""Faces as prompts: the FaceID nodes and the LoRA that belongs to their adapters."""

from collections.abc import Callable
from typing import ClassVar

from comfy_api.latest import io
from torch import Tensor

from ..encoders.faces import FACE_ORDERS, MISSING, FaceChoice
from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AppliedOutput, ApplyNode
from .applying.apply import Applied, Request, Strength, apply_adapter
from .applying.encoding import Reference
from .loading.face_lora import apply_face_lora
from .node import AtelierNode
from .old.appended import AppendedChoice, AppendedNumber, AppendedWhole
from .old.methods import ApplyMethod, FirstApplyMethod
from .old.names import layers_and_scaling
from .sockets import Adapter, ClipVision, FaceModels, Model, Weight

VERSIONS = {"by the file": None, "version 1": False, "version 2": True}  # of FaceID Plus -> whether it has the shortcut


def plus_version() -> io.Input:
    tip = "FaceID Plus and Plus V2 have the same tensors. By the file: its metadata or its name tell, as the log says."
    return AppendedChoice("faceid_plus_version", options=list(VERSIONS), optional=True, advanced=True, tooltip=tip)


def face_choice(
    order: str = "highest score",
    *,
    choice: Callable[..., io.Input] = AppendedChoice,
    whole: Callable[..., io.Input] = AppendedWhole,
) -> list[io.Input]:
    """Which face of a picture is used, and how pictures without a face are treated."""
    order_tip = (
        "Which face of a picture with several is used: the one the detector is surest of, the largest, or by position."
    )
    missing_tip = (
        "For pictures without a face: stop, leave them out, or use the face of the nearest picture that has one."
    )
    index_tip = "0 is the first face in that order, 1 the second, and so on."
    return [
        choice("face", options=list(FACE_ORDERS), default=order, optional=True, advanced=True, tooltip=order_tip),
        whole("face_index", default=0, min=0, max=63, optional=True, advanced=True, tooltip=index_tip),
        choice("missing_face", options=list(MISSING), optional=True, advanced=True, tooltip=missing_tip),
    ]


def least_score(number: Callable[..., io.Input] = AppendedNumber) -> io.Input:
    """The least score at which a detection counts as a face."""
    tip = "Least score of the detector at which a detection counts as a face: 0 takes every one, 0.7 leaves out cups."
    return number("least_score", default=0.0, min=0.0, max=1.0, step=0.01, optional=True, advanced=True, tooltip=tip)


def face_schema(node_id: str, display_name: str, description: str, *, kolors: bool = False) -> io.Schema:
    return io.Schema(
        node_id=node_id,
        display_name=display_name,
        category="ipadapter/faceid",
        description=description,
        search_aliases=["faceid", "face id", "face reference", "face swap", "same person", "portrait", "换脸", "人脸"],
        inputs=[
            inputs.model(),
            inputs.ipadapter(),
            inputs.image(tooltip="Picture of a face, or a batch of pictures of the same face."),
            inputs.weight(),
            inputs.weight_faceidv2(),
            *([inputs.weight_kolors()] if kolors else []),
            inputs.weight_type(),
            inputs.combine_embeds(),
            *inputs.active_range(),
            inputs.embeds_scaling(),
            *inputs.optional_images(faces=True),
            inputs.schedule(),
            *face_choice("largest" if kolors else "highest score"),
            plus_version(),
            least_score(),
        ],
        outputs=[inputs.model_output(), inputs.face_image_output()],
    )


class FaceInputs(ApplyNode):
    """Base of all FaceID nodes: they have widgets that say which face is meant."""

    order: ClassVar[str] = "highest score"

    @classmethod
    def validate_inputs(
        cls, weight_type: str | None = None, face_index: object = None, least_score: object = None
    ) -> bool | str:
        """Named here, `face_index` and `least_score` are not checked by ComfyUI: see `nodes/old/appended.py`."""
        return super().validate_inputs(weight_type)


def with_faces(applied: Applied, image: Tensor) -> AppliedOutput:
    """The model and the face crops that were used; for an adapter without faces, the references."""
    return AppliedOutput(applied, image if applied.faces is None else applied.faces)


class FaceNode(FaceInputs, ApplyMethod):
    """Base of the FaceID nodes of March 2024 and later."""

    @classmethod
    def run(
        cls,
        model: Model,
        ipadapter: Adapter,
        image: Tensor,
        weight: Weight = 1.0,
        weight_faceidv2: float | None = None,
        weight_kolors: float = 1.0,
        weight_type: str = "linear",
        combine_embeds: str = "concat",
        start_at: float = 0.0,
        end_at: float = 1.0,
        embeds_scaling: str = "V only",
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
        insightface: FaceModels = None,
        schedule: Schedule | None = None,
        face: str | None = None,
        face_index: int = 0,
        missing_face: str = "error",
        faceid_plus_version: str = "by the file",
        least_score: float = 0.0,
    ) -> io.NodeOutput:
        reference = Reference(
            image,
            negative=image_negative,
            combine=combine_embeds,
            per_frame=cls.per_frame,
            face_weight=weight_faceidv2,
            shortcut=VERSIONS[faceid_plus_version],
            kolors_weight=weight_kolors,
            face=FaceChoice(face or cls.order, face_index, missing_face, least_score),
        )
        strength = Strength(
            weight,
            weight_type,
            schedule=schedule,
            start_at=start_at,
            end_at=end_at,
            scaling=embeds_scaling,
            mask=attn_mask,
        )
        applied = apply_adapter(model, ipadapter, [Request(reference, strength)], clip_vision, insightface)
        return with_faces(applied, image)


class IPAdapterFaceID(FaceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        text = "The person in the picture: FaceID adapters follow the identity that a face recogniser sees."
        return face_schema("IPAdapterFaceID", "IPAdapter FaceID", text)


class IPAAdapterFaceIDBatch(FaceNode):
    per_frame = True

    @classmethod
    def define_schema(cls) -> io.Schema:
        text = "As IPAdapter FaceID, with the first picture for the first latent of the batch, and so on."
        return face_schema("IPAAdapterFaceIDBatch", "IPAdapter FaceID Batch", text)


class IPAdapterFaceIDKolors(FaceNode):
    order = "largest"  # as its adapter was trained

    @classmethod
    def define_schema(cls) -> io.Schema:
        text = "IPAdapter FaceID for Kolors models and their FaceID adapter."
        return face_schema("IPAdapterFaceIDKolors", "IPAdapter FaceID Kolors", text, kolors=True)


class IPAdapterApplyFaceID(FaceInputs, FirstApplyMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        v2_tip = "For FaceID Plus: on for V2 adapters, off for the first version, which has the same tensors."
        return io.Schema(
            node_id="IPAdapterApplyFaceID",
            display_name="Apply IPAdapter FaceID",
            category="ipadapter",
            description="The person in the picture becomes a prompt: the model draws somebody with this face.",
            search_aliases=["faceid", "face id", "face reference", "face swap", "same person", "换脸", "人脸"],
            inputs=[
                inputs.ipadapter(),
                inputs.clip_vision(optional=False),
                inputs.insightface(optional=False),
                inputs.image(tooltip="Picture of a face, or a batch of pictures of the same face."),
                inputs.model(),
                inputs.weight(),
                inputs.noise(),
                inputs.weight_type(inputs.FIRST_WEIGHT_TYPES),
                *inputs.active_range(),
                io.Boolean.Input("faceid_v2", default=False, tooltip=v2_tip),
                inputs.weight(
                    "weight_v2", tooltip="FaceID Plus V2 only: how much of the face's CLIP features is used."
                ),
                inputs.unfold_batch(),
                inputs.attn_mask(),
                inputs.schedule(),
                *face_choice(),
                least_score(),
            ],
            outputs=[inputs.model_output(), inputs.face_image_output()],
        )

    @classmethod
    def run(
        cls,
        ipadapter: Adapter,
        image: Tensor,
        model: Model,
        clip_vision: ClipVision | None = None,
        insightface: FaceModels = None,
        weight: Weight = 1.0,
        noise: float = 0.0,
        weight_type: str = "original",
        start_at: float = 0.0,
        end_at: float = 1.0,
        faceid_v2: bool | None = None,
        weight_v2: float | None = None,
        unfold_batch: bool = False,
        attn_mask: Tensor | None = None,
        schedule: Schedule | None = None,
        face: str | None = None,
        face_index: int = 0,
        missing_face: str = "error",
        least_score: float = 0.0,
    ) -> io.NodeOutput:
        reference = Reference(
            image,
            noise=noise,
            per_frame=unfold_batch,
            face_weight=weight_v2,
            shortcut=faceid_v2,
            face=FaceChoice(face or cls.order, face_index, missing_face, least_score),
        )
        layers, scaling = layers_and_scaling(weight_type)
        strength = Strength(
            weight, layers, schedule=schedule, start_at=start_at, end_at=end_at, scaling=scaling, mask=attn_mask
        )
        applied = apply_adapter(model, ipadapter, [Request(reference, strength)], clip_vision, insightface)
        return with_faces(applied, image)


class IPAdapterFaceIDLoRA(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = "How strongly the LoRA acts. The adapter was trained with 1.0; 0.6 leaves more to the model."
        return io.Schema(
            node_id="IPAdapterFaceIDLoRA",
            display_name="IPAdapter FaceID LoRA",
            category="ipadapter/faceid",
            description="Applies the LoRA with which a FaceID adapter was trained, from the adapter's own file.",
            inputs=[
                inputs.model(),
                inputs.ipadapter(tooltip="A FaceID, FaceID Plus or FaceID Plus V2 adapter."),
                io.Float.Input("strength", default=0.6, min=-2.0, max=2.0, step=0.01, tooltip=tip),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="The model with the LoRA. What came in is unchanged.")
            ],
        )

    @classmethod
    def run(cls, model: Model, ipadapter: Adapter, strength: float) -> io.NodeOutput:
        return io.NodeOutput(apply_face_lora(model, ipadapter, strength))


NODES: list[type[io.ComfyNode]] = [
    IPAdapterFaceID, IPAAdapterFaceIDBatch, IPAdapterFaceIDKolors, IPAdapterApplyFaceID, IPAdapterFaceIDLoRA,
]  # fmt: skip

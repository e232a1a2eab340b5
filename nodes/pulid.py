"""PuLID for SDXL: a person as a prompt that changes the rest of the picture little. Ids are those of older packs."""

from collections.abc import Hashable

from comfy_api.latest import io
from torch import Tensor

from ..encoders.faces import FACE_ORDERS, FaceChoice
from ..ipadapter.pulid_rules import RULES
from ..ipadapter.pulid_tokens import COMBINE
from ..weight_schedules.schedule import Schedule
from . import inputs
from .applying.apply import Strength
from .applying.pulid import Person, apply_pulid
from .loading.pulid import fingerprint_of_parser
from .node import AtelierNode
from .pulid_loaders import EvaClipType, PulidEvaClipLoader, PulidInsightFaceLoader, PulidModelLoader, PulidType
from .sockets import Adapter, ClipVision, FaceModels, Model, Weight

METHODS = {"fidelity": ("ortho_v2", 8), "style": ("ortho", 16), "neutral": ("none", 0)}  # rule, zero tokens


def encoders() -> list[io.Input]:
    """The sockets of the EVA-CLIP encoder and of the face models."""
    eva_tip = (
        "The EVA02-CLIP L 336 encoder: Load Eva Clip, an IPAdapter OpenCLIP Loader, or the unified loader's ipadapter "
        "output."
    )
    types = [EvaClipType, io.ClipVision, inputs.IPAdapterType]
    return [io.MultiType.Input("eva_clip", types=types, tooltip=eva_tip), face_analysis()]


def face_analysis() -> io.Input:
    tip = (
        "Face detector and recogniser, or the unified loader's ipadapter output; PuLID was trained with the pack "
        "antelopev2."
    )
    return inputs.face_models("face_analysis", tip)


def person_image() -> io.Input:
    tip = "A photo of the person, or a batch of photos of the same person. Photos without a face are left out."
    return inputs.image(tooltip=tip)


def pulid_weight() -> io.Input:
    tip = "How strongly the person acts: 0 is off, 0.8 is the authors' value for SDXL, 0.9 to 1 for Flux."
    return inputs.weight(maximum=5, tooltip=tip)


def combine_embeds() -> io.Input:
    tip = "How several photos become one person: mean mixes them, concat shows all of them as PuLID's authors do."
    return inputs.Choice("combine_embeds", options=list(COMBINE), optional=True, advanced=True, tooltip=tip)


def appended() -> list[io.Input]:
    """Inputs that this pack adds behind those of older packs."""
    order_tip = "Which face of a photo with several is the person: the largest, the one found surest, or by position."
    mask_tip = "White on face and hair of the photo, in place of the face parser in models/facexlib."
    layers = inputs.layer_weights()
    layers.optional = True
    return [
        layers,
        inputs.Choice(
            "face", options=list(FACE_ORDERS), default="largest", optional=True, advanced=True, tooltip=order_tip
        ),
        io.Int.Input(
            "face_index", default=0, min=0, max=63, optional=True, advanced=True,
            tooltip="0 is the first face in that order, 1 the second, and so on.",
        ),
        io.Mask.Input("face_mask", optional=True, tooltip=mask_tip),
        inputs.schedule(),
    ]  # fmt: skip


def photo_choice(face: str, face_index: int) -> FaceChoice:
    return FaceChoice(face, face_index, missing="skip the image")


def strength_inputs() -> list[io.Input]:
    """The last inputs of both Apply nodes for SDXL: range and mask of saved graphs, then what this pack adds."""
    return [*inputs.active_range(), inputs.attn_mask(), combine_embeds(), *appended()]


def pulid_sockets() -> list[io.Input]:
    tip = "A PuLID for SDXL from Load PuLID Model, or from an IPAdapter Model Loader."
    pulid = io.MultiType.Input("pulid", types=[PulidType, inputs.IPAdapterType], tooltip=tip)
    return [inputs.model(), pulid, *encoders(), person_image()]


class ApplyPulidNode(AtelierNode):
    """Base of the apply nodes: they run again when a face parser was added, removed or replaced."""

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> Hashable:
        return fingerprint_of_parser()


class ApplyPulid(ApplyPulidNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = "fidelity: most alike. style: the picture's style stays more. neutral: the plain attention."
        return io.Schema(
            node_id="ApplyPulid",
            display_name="Apply PuLID",
            category="pulid",
            description="The person in the photo becomes a prompt for an SDXL model, which changes the rest of the "
            "picture little.",
            search_aliases=["pulid", "identity", "same person", "face swap", "换脸"],
            inputs=[
                *pulid_sockets(),
                inputs.Choice("method", options=list(METHODS), tooltip=tip),
                pulid_weight(),
                *strength_inputs(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def run(
        cls,
        model: Model,
        pulid: Adapter,
        eva_clip: ClipVision,
        face_analysis: FaceModels,
        image: Tensor,
        method: str = "fidelity",
        weight: Weight = 1.0,
        start_at: float = 0.0,
        end_at: float = 1.0,
        attn_mask: Tensor | None = None,
        combine_embeds: str = "mean",
        layer_weights: str = "",
        face: str = "largest",
        face_index: int = 0,
        face_mask: Tensor | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        projection, zeros = METHODS[method]
        person = Person(image, combine_embeds, zeros, face=photo_choice(face, face_index), face_mask=face_mask)
        strength = Strength(
            weight, layer_weights=layer_weights, schedule=schedule, start_at=start_at, end_at=end_at, mask=attn_mask
        )
        return io.NodeOutput(apply_pulid(model, pulid, eva_clip, face_analysis, person, strength, projection))


class ApplyPulidAdvanced(ApplyPulidNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        projection_tip = (
            "How the person joins the attention to the text: ortho_v2 is most alike, ortho leaves the style most, none "
            "is the plain attention."
        )
        fidelity_tip = (
            "Tokens of zeros beside the person's, 8 for version 1, 20 for version 1.1: more of them, and less "
            "of the person where the text has something else."
        )
        noise_tip = "Noise in place of zeros for the negative prompt and the tokens of zeros; the same in every run."
        return io.Schema(
            node_id="ApplyPulidAdvanced",
            display_name="Apply PuLID Advanced",
            category="pulid",
            description="As Apply PuLID, with the parts of its methods as inputs of their own.",
            search_aliases=["pulid", "identity", "same person"],
            inputs=[
                *pulid_sockets(),
                pulid_weight(),
                inputs.Choice("projection", options=list(RULES), tooltip=projection_tip),
                io.Int.Input("fidelity", default=8, min=0, max=32, tooltip=fidelity_tip),
                io.Float.Input("noise", default=0.0, min=-1.0, max=1.0, step=0.1, tooltip=noise_tip),
                *strength_inputs(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def run(
        cls,
        model: Model,
        pulid: Adapter,
        eva_clip: ClipVision,
        face_analysis: FaceModels,
        image: Tensor,
        weight: Weight = 1.0,
        projection: str = "ortho_v2",
        fidelity: int = 8,
        noise: float = 0.0,
        start_at: float = 0.0,
        end_at: float = 1.0,
        attn_mask: Tensor | None = None,
        combine_embeds: str = "mean",
        layer_weights: str = "",
        face: str = "largest",
        face_index: int = 0,
        face_mask: Tensor | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        choice = photo_choice(face, face_index)
        person = Person(image, combine_embeds, fidelity, noise, choice, face_mask=face_mask)
        strength = Strength(
            weight, layer_weights=layer_weights, schedule=schedule, start_at=start_at, end_at=end_at, mask=attn_mask
        )
        return io.NodeOutput(apply_pulid(model, pulid, eva_clip, face_analysis, person, strength, projection))


NODES: list[type[io.ComfyNode]] = [
    PulidModelLoader, PulidInsightFaceLoader, PulidEvaClipLoader, ApplyPulid, ApplyPulidAdvanced,
]  # fmt: skip

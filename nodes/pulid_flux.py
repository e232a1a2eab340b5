"""PuLID for Flux, with the node ids and inputs of the first packs for it."""

from dataclasses import dataclass

from comfy_api.latest import io
from torch import Tensor

from ..encoders.face_crops import FFHQ_SIZE
from ..encoders.faces import MORE_ORDERS, FaceChoice, crop_faces, face_features
from ..ipadapter.errors import AdapterError
from ..ipadapter.pulid_tokens import COMBINE, FUSIONS, SIDE_BY_SIDE
from ..weight_schedules.schedule import Schedule
from . import inputs
from .applying.apply import Strength
from .applying.caches import FACES
from .applying.pulid import Person, apply_pulid, shrunk
from .loading.adapters import part_of
from .node import AtelierNode
from .notices import say_notes
from .pulid import (
    ApplyPulidNode,
    appended,
    encoders,
    face_analysis,
    person_image,
    photo_choice,
    pulid_weight,
)
from .pulid_loaders import PulidFluxEvaClipLoader, PulidFluxInsightFaceLoader, PulidFluxModelLoader, PulidFluxType
from .sockets import Adapter, ClipVision, FaceModels, Model, Weight

TRAINED = ("auto_weight", "train_weight")  # weights that another pack finds or trains while the graph runs
FUSION = ("mean", SIDE_BY_SIDE, *(name for name in FUSIONS if name != "mean"), *TRAINED)
ALIGNED = ("head", "aligned")  # crops by PulidFluxOptions' mode: as PuLID's authors cut, or by ArcFace's template


@dataclass(frozen=True)
class FaceOptions:
    """The output of Pulid Flux Options."""

    order: str
    index: int
    align_mode: int

    @property
    def choice(self) -> FaceChoice:
        return photo_choice(self.order, self.index)

    @property
    def crop(self) -> str:
        return ALIGNED[self.align_mode]


def fusion_inputs() -> list[io.Input]:
    """Inputs of a pack that mixes several photos in more ways than others."""
    tips = {
        "fusion": "How several photos become one person. auto_weight and train_weight, which another pack computes "
        "while the graph runs, are the mean here.",
        "weights": "Of auto_weight and train_weight in another pack; not used here.",
        "gray": "On, as PuLID was trained: the vision encoder sees the face in grey. Off: in colour.",
    }
    limits = {"min": 0.0, "max": 20.0, "step": 0.1, "optional": True, "advanced": True, "tooltip": tips["weights"]}
    return [
        inputs.Choice("fusion", options=list(FUSION), optional=True, tooltip=tips["fusion"]),
        io.Float.Input("fusion_weight_max", default=1.0, **limits),
        io.Float.Input("fusion_weight_min", default=0.0, **limits),
        io.Int.Input(
            "train_step", default=1000, min=0, max=20000, optional=True, advanced=True, tooltip=tips["weights"]
        ),
        io.Boolean.Input("use_gray", default=True, optional=True, tooltip=tips["gray"]),
    ]


class ApplyPulidFlux(ApplyPulidNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tip = "A PuLID for Flux from Load PuLID Flux Model, or from an IPAdapter Model Loader."
        prior_tip = "A photo that another pack compares with while it trains weights; not used here."
        return io.Schema(
            node_id="ApplyPulidFlux",
            display_name="Apply PuLID Flux",
            category="pulid",
            description="The person in the photo becomes a prompt for a Flux model, which changes the rest of the "
            "picture little.",
            search_aliases=["pulid", "identity", "same person", "face swap", "换脸"],
            inputs=[
                inputs.model(),
                io.MultiType.Input("pulid_flux", types=[PulidFluxType, inputs.IPAdapterType], tooltip=tip),
                *encoders(),
                person_image(),
                pulid_weight(),
                *inputs.active_range(),
                *fusion_inputs(),
                inputs.attn_mask(),
                inputs.OptionsType.Input("options", optional=True, tooltip="Which face, from PuLID Flux Options."),
                io.Image.Input("prior_image", optional=True, tooltip=prior_tip),
                *appended(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def run(
        cls,
        model: Model,
        pulid_flux: Adapter,
        eva_clip: ClipVision,
        face_analysis: FaceModels,
        image: Tensor,
        weight: Weight = 1.0,
        start_at: float = 0.0,
        end_at: float = 1.0,
        fusion: str = "mean",
        fusion_weight_max: float = 1.0,
        fusion_weight_min: float = 0.0,
        train_step: int = 1000,
        use_gray: bool = True,
        attn_mask: Tensor | None = None,
        options: FaceOptions | None = None,
        prior_image: Tensor | None = None,
        layer_weights: str = "",
        face: str = "largest",
        face_index: int = 0,
        face_mask: Tensor | None = None,
        schedule: Schedule | None = None,
    ) -> io.NodeOutput:
        if fusion in TRAINED:
            say_notes([f"fusion {fusion} is computed by another pack while the graph runs. Here it is the mean."])
        choice = photo_choice(face, face_index) if options is None else checked_options(options).choice
        crop = "head" if options is None else options.crop
        combine = fusion if fusion in COMBINE else "mean"
        person = Person(image, combine, face=choice, crop=crop, grey=use_gray, face_mask=face_mask)
        strength = Strength(
            weight, layer_weights=layer_weights, schedule=schedule, start_at=start_at, end_at=end_at, mask=attn_mask
        )
        return io.NodeOutput(apply_pulid(model, pulid_flux, eva_clip, face_analysis, person, strength))


def checked_options(options: object) -> FaceOptions:
    """The options, if they come from our node; AdapterError for another pack's OPTIONS."""
    if not isinstance(options, FaceOptions):
        raise AdapterError(f"options needs what Pulid Flux Options gives, and got a {type(options).__name__}.")
    return options


class PulidFluxOptions(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tips = {
            "order": "The order in which the faces of a photo are counted.",
            "index": "0 is the first face in that order, 1 the second, and so on.",
            "align": "What the vision encoder sees. 0: the head, as PuLID was trained. 1: a tighter crop of the face.",
        }
        return io.Schema(
            node_id="PulidFluxOptions",
            display_name="Pulid Flux Options",
            category="pulid",
            description="Which face of a photo Apply PuLID Flux follows, and how it is cut out.",
            search_aliases=["pulid"],
            inputs=[
                inputs.Choice(
                    "input_faces_order", options=list(MORE_ORDERS), default="large-small", tooltip=tips["order"]
                ),
                io.Int.Input("input_faces_index", default=0, min=0, max=1000, tooltip=tips["index"]),
                io.Int.Input("input_faces_align_mode", default=1, min=0, max=1, tooltip=tips["align"]),
            ],
            outputs=[inputs.OptionsType.Output(display_name="OPTIONS", tooltip="For Apply PuLID Flux.")],
        )

    @classmethod
    def run(cls, input_faces_order: str, input_faces_index: int = 0, input_faces_align_mode: int = 1) -> io.NodeOutput:
        return io.NodeOutput(FaceOptions(input_faces_order, input_faces_index, input_faces_align_mode))


class PulidFluxFaceDetector(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        tips = {
            "embed": "The faces as the recogniser sees them, one per photo.",
            "align": "The faces as the vision encoder gets them, before they are made grey.",
            "box": "The squares around the faces that the detector found.",
        }
        return io.Schema(
            node_id="PulidFluxFaceDetector",
            display_name="Pulid Flux Face Detector",
            category="pulid",
            description="Shows which face of each photo Apply PuLID Flux follows, and how it is cut out.",
            search_aliases=["pulid", "face crop"],
            inputs=[
                face_analysis(),
                person_image(),
                inputs.OptionsType.Input("options", tooltip="Which face, from PuLID Flux Options."),
            ],
            outputs=[
                io.Image.Output(display_name="embed_face", is_output_list=True, tooltip=tips["embed"]),
                io.Image.Output(display_name="align_face", is_output_list=True, tooltip=tips["align"]),
                io.Image.Output(display_name="face_bbox_image", is_output_list=True, tooltip=tips["box"]),
            ],
        )  # fmt: skip

    @classmethod
    def run(cls, face_analysis: FaceModels, image: Tensor, options: FaceOptions) -> io.NodeOutput:
        images, wish = shrunk(image), checked_options(options)
        analysis = part_of(face_analysis, "insightface")
        faces = face_features(analysis, images, FFHQ_SIZE, choice=wish.choice, crop=wish.crop, cache=FACES)
        chosen = dict(zip(faces.kept, faces.found, strict=True))
        embed = crop_faces(images, chosen, faces.kept, 112)
        boxes = crop_faces(images, chosen, faces.kept, FFHQ_SIZE, crop="box")
        return io.NodeOutput(*(list(part.split(1)) for part in (embed, faces.crops, boxes)))


class FixPulidFluxPatch(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FixPulidFluxPatch",
            display_name="Fix Pulid Flux Patch",
            category="pulid",
            description="Hands the model on. Another pack needed this node behind others that patch Flux.",
            is_deprecated=True,
            inputs=[inputs.model()],
            outputs=[io.Model.Output(display_name="MODEL", tooltip="The model that came in.")],
        )

    @classmethod
    def run(cls, model: Model) -> io.NodeOutput:
        return io.NodeOutput(model)


NODES: list[type[io.ComfyNode]] = [
    PulidFluxModelLoader, PulidFluxInsightFaceLoader, PulidFluxEvaClipLoader, ApplyPulidFlux, PulidFluxOptions,
    PulidFluxFaceDetector, FixPulidFluxPatch,
]  # fmt: skip

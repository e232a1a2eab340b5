"""InstantID (arXiv:2401.07519) for SDXL: adapter and ControlNet in one node, with the node ids of existing graphs."""

from comfy_api.latest import io
from torch import Tensor

from ..ipadapter.errors import AdapterError
from ..weight_schedules.schedule import Schedule
from . import inputs
from .apply_base import AcceptsRenamed
from .applying.apply import Strength
from .applying.face_drawing import WHOLE
from .applying.instantid import apply_instantid
from .instantid_inputs import combine_input, control_of, noise_input, reference_of, whole_schema
from .sockets import Adapter, Canvas, Conditioning, FaceModels, Model, Weight

NOISE = 0.35  # of ApplyInstantID, which has no widget for it


class ApplyInstantID(AcceptsRenamed):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return whole_schema(
            "ApplyInstantID",
            "Apply InstantID",
            "The person of a photo, with the face where another photo has it. SDXL only; CFG 4 to 5.",
            [inputs.weight(maximum=5, minimum=0, default=0.8, step=0.01, tooltip="Strength of both halves.")],
        )

    @classmethod
    def run(
        cls,
        instantid: Adapter,
        insightface: FaceModels,
        control_net: object,
        image: Tensor,
        model: Model,
        positive: Conditioning,
        negative: Conditioning,
        weight: Weight = 0.8,
        start_at: float = 0.0,
        end_at: float = 1.0,
        image_kps: Tensor | None = None,
        mask: Tensor | None = None,
        weight_type: str = "linear",
        layer_weights: str = "",
        schedule: Schedule | None = None,
        face: str = "largest",
        face_index: int = 0,
        least_score: float = 0.0,
        canvas: Canvas | None = None,
        mask_limits: str = "text and face",
        place: str = WHOLE,
    ) -> io.NodeOutput:
        if not isinstance(weight, int | float):
            raise AdapterError("weight needs one number: the ControlNet of InstantID has no weights of frames.")
        reference = reference_of(image, face, face_index, least_score, noise=NOISE)
        strength = Strength(
            weight, weight_type, layer_weights=layer_weights, schedule=schedule, start_at=start_at, end_at=end_at,
            mask=mask,
        )  # fmt: skip
        control = control_of(control_net, weight, image_kps, canvas, mask_limits, place)
        texts = (positive, negative)
        return io.NodeOutput(*apply_instantid(model, instantid, insightface, texts, reference, strength, control))


class ApplyInstantIDAdvanced(AcceptsRenamed):
    @classmethod
    def define_schema(cls) -> io.Schema:
        ip_tip = "Strength in the model's cross-attentions: who it is. Lower it first when colours are too strong."
        cn_tip = "Strength of the ControlNet: where the face is, and who it is too."
        return whole_schema(
            "ApplyInstantIDAdvanced",
            "Apply InstantID Advanced",
            "Apply InstantID with a strength for each half, noise, and ways to combine several photos.",
            [
                inputs.weight("ip_weight", minimum=0, default=0.8, step=0.01, tooltip=ip_tip),
                inputs.weight("cn_strength", maximum=10, minimum=0, default=0.8, step=0.01, tooltip=cn_tip),
            ],
            [noise_input(), combine_input()],
        )

    @classmethod
    def run(
        cls,
        instantid: Adapter,
        insightface: FaceModels,
        control_net: object,
        image: Tensor,
        model: Model,
        positive: Conditioning,
        negative: Conditioning,
        ip_weight: float = 0.8,
        cn_strength: float = 0.8,
        start_at: float = 0.0,
        end_at: float = 1.0,
        noise: float = 0.0,
        combine_embeds: str = "average",
        image_kps: Tensor | None = None,
        mask: Tensor | None = None,
        weight_type: str = "linear",
        layer_weights: str = "",
        schedule: Schedule | None = None,
        face: str = "largest",
        face_index: int = 0,
        least_score: float = 0.0,
        canvas: Canvas | None = None,
        mask_limits: str = "text and face",
        place: str = WHOLE,
    ) -> io.NodeOutput:
        reference = reference_of(image, face, face_index, least_score, combine_embeds, noise)
        strength = Strength(
            ip_weight, weight_type, layer_weights=layer_weights, schedule=schedule, start_at=start_at, end_at=end_at,
            mask=mask,
        )  # fmt: skip
        control = control_of(control_net, cn_strength, image_kps, canvas, mask_limits, place)
        texts = (positive, negative)
        return io.NodeOutput(*apply_instantid(model, instantid, insightface, texts, reference, strength, control))


NODES: list[type[io.ComfyNode]] = [ApplyInstantID, ApplyInstantIDAdvanced]

"""Drawings of eyes, nose and mouth, for InstantID's ControlNet."""

from comfy_api.latest import io, ui
from torch import Tensor

from ..encoders.face_places import PLACES
from ..encoders.faces import FaceChoice
from ..masks.compose import canvas_size
from . import inputs
from .applying.face_drawing import WHOLE, Drawing, draw_faces
from .face import face_choice, least_score
from .node import AtelierNode
from .sockets import Canvas, FaceModels

PEOPLE = {"one face": False, "every face": True}  # whose points are drawn -> whether those of every face are


def face_models_input(id: str = "insightface") -> io.Input:
    tip = (
        "Face pack: InstantID Face Analysis, an IPAdapter InsightFace Loader with antelopev2, or the unified loader's "
        "ipadapter output."
    )
    return inputs.face_models(id, tip)


def canvas_input() -> io.Input:
    tip = "Latent or image in the size that is sampled, so that points have the width that the ControlNet knows."
    return io.MultiType.Input("canvas", types=[io.Latent, io.Image, io.Mask], optional=True, tooltip=tip)


def place_input(default: str) -> io.Input:
    tip = (
        "Where on the canvas the face is drawn. as in the photo: the photo fills the canvas. the face in the mask: of "
        "a group, the face that lies in it. the photo in the mask: the photo fills the box around its white part."
    )
    return inputs.Choice("place", options=list(PLACES), default=default, optional=True, advanced=True, tooltip=tip)


class IPAdapterFaceKeypoints(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        people_tip = "Draw the face that face and face_index choose, or every face of the picture."
        mask_tip = "White where the person is; place says how the mask is used."
        return io.Schema(
            node_id="IPAdapterFaceKeypoints",
            display_name="IPAdapter Face Keypoints",
            category="ipadapter/faceid",
            description="Draws where eyes, nose and mouth are, as InstantID's ControlNet sees them, and shows it.",
            search_aliases=["instantid", "keypoints", "kps", "face pose", "landmarks"],
            inputs=[
                inputs.image(tooltip="Picture or batch of pictures with a face."),
                face_models_input(),
                inputs.Choice("people", options=list(PEOPLE), tooltip=people_tip),
                *face_choice("largest", choice=inputs.Choice, whole=io.Int.Input),
                least_score(io.Float.Input),
                canvas_input(),
                io.Mask.Input("mask", optional=True, tooltip=mask_tip),
                place_input("the photo in the mask"),
            ],
            outputs=[io.Image.Output(display_name="image_kps", tooltip="The drawing, for Apply InstantID.")],
            is_output_node=True,
        )

    @classmethod
    def run(
        cls,
        image: Tensor,
        insightface: FaceModels,
        people: str = "one face",
        face: str = "largest",
        face_index: int = 0,
        missing_face: str = "error",
        least_score: float = 0.0,
        canvas: Canvas | None = None,
        mask: Tensor | None = None,
        place: str = WHOLE,
    ) -> io.NodeOutput:
        choice = FaceChoice(face, face_index, missing_face, least_score)
        size = None if canvas is None else canvas_size(canvas)
        drawing = Drawing(choice, size, WHOLE if mask is None else place, mask, PEOPLE[people])
        drawn = draw_faces(insightface, image, drawing)
        return io.NodeOutput(drawn, ui=ui.PreviewImage(drawn, cls=cls))


class FaceKeypointsPreprocessor(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceKeypointsPreprocessor",
            display_name="Face Keypoints Preprocessor",
            category="InstantID",
            description="Draws the largest face's eyes, nose and mouth. IPAdapter Face Keypoints draws others too.",
            inputs=[
                face_models_input("faceanalysis"),
                inputs.image(tooltip="Picture or batch of pictures with a face. Those without one are left out."),
                canvas_input(),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The drawing, for InstantID's ControlNet.")],
        )

    @classmethod
    def run(cls, faceanalysis: FaceModels, image: Tensor, canvas: Canvas | None = None) -> io.NodeOutput:
        size = None if canvas is None else canvas_size(canvas)
        drawing = Drawing(FaceChoice("largest", missing="skip the image"), size)
        return io.NodeOutput(draw_faces(faceanalysis, image, drawing))


NODES: list[type[io.ComfyNode]] = [IPAdapterFaceKeypoints, FaceKeypointsPreprocessor]

"""Face crops for the adapters that may be used commercially, and pictures made ready for the face detector."""

from comfy_api.latest import io, ui
from torch import Tensor

from ..encoders.face_boxes import faces_from_boxes
from ..encoders.face_crops import prepare_for_detector
from ..encoders.faces import CROPS, FaceChoice, crop_faces, detect, face_notes, select_faces
from ..encoders.pictures import SQUARES
from . import inputs
from .face import face_choice, least_score
from .node import AtelierNode
from .notices import say_notes
from .old.methods import PrepareMethod
from .sockets import FaceModels


def boxes_input() -> io.Input:
    tip = "Boxes from another detector, Detect Face Landmarks (MediaPipe) say, instead of insightface."
    socket = {"forceInput": True}  # else the page draws a box to fill in, and sends it
    return inputs.BoxesType.Input("bboxes", optional=True, tooltip=tip, extra_dict=socket)


class IPAdapterFaceCrop(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        crop_tip = (
            "aligned: turned upright by eyes, nose and mouth. box: the square around the detector's box, not turned."
        )
        return io.Schema(
            node_id="IPAdapterFaceCrop",
            display_name="IPAdapter Face Crop",
            category="ipadapter/faceid",
            description=(
                "Cuts the face out of a picture, for PLUS FACE and FULL FACE adapters: they and a freely licensed "
                "detector may be used commercially, which FaceID adapters may not."
            ),
            search_aliases=["face crop", "crop face", "face detector", "align face"],
            inputs=[
                inputs.image(tooltip="Picture or batch of pictures with a face."),
                io.Int.Input("size", default=512, min=64, max=2048, step=8, tooltip="Width and height of the crop."),
                inputs.Choice("crop", options=list(CROPS), tooltip=crop_tip),
                io.Float.Input(
                    "padding", default=0.2, min=0.0, max=2.0, step=0.05, tooltip="Margin on every side, in crop widths."
                ),
                *face_choice(choice=inputs.Choice, whole=io.Int.Input),
                inputs.insightface(),
                boxes_input(),
                least_score(io.Float.Input),
            ],
            outputs=[io.Image.Output(display_name="face_image", tooltip="One face per picture.")],
            is_output_node=True,
        )

    @classmethod
    def run(
        cls,
        image: Tensor,
        size: int,
        crop: str,
        padding: float,
        insightface: FaceModels = None,
        bboxes: object = None,
        face: str = "highest score",
        face_index: int = 0,
        missing_face: str = "error",
        least_score: float = 0.0,
    ) -> io.NodeOutput:
        if insightface is None and bboxes is None:
            raise ValueError("Face Crop needs a detector: connect an IPAdapter InsightFace Loader, or boxes to bboxes.")
        if bboxes is None:
            found = [detect(insightface, one, least_score=least_score) for one in image]
        else:
            found = faces_from_boxes(bboxes, len(image))
        chosen, kept = select_faces(found, FaceChoice(face, face_index, missing_face, least_score))
        say_notes(face_notes(chosen))
        crops = crop_faces(image, chosen, kept, size, padding, crop)
        return io.NodeOutput(crops, ui=ui.PreviewImage(crops, cls=cls))


class PrepImageForInsightFace(PrepareMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        places = ["center", *(square for square in SQUARES if square != "center")]
        pad_tip = "Leave a black margin, so that a face that fills the picture is found."
        return io.Schema(
            node_id="PrepImageForInsightFace",
            display_name="Prepare Image For InsightFace",
            category="ipadapter/utils",
            description="Makes a picture square and as large as the face detector sees it. Other pictures work too.",
            inputs=[
                inputs.image(tooltip="Picture or batch of pictures with a face."),
                inputs.Choice("crop_position", options=places, tooltip="Which part of the picture remains."),
                inputs.sharpening(),
                io.Boolean.Input("pad_around", default=True, tooltip=pad_tip),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="The square pictures.")],
        )

    @classmethod
    def run(cls, image: Tensor, crop_position: str, sharpening: float, pad_around: bool = True) -> io.NodeOutput:
        return io.NodeOutput(prepare_for_detector(image, crop_position, sharpening, 0.25 if pad_around else 0.0))


NODES: list[type[io.ComfyNode]] = [IPAdapterFaceCrop, PrepImageForInsightFace]

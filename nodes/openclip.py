"""Load a vision encoder, and the text tower that belongs to it, in any of OpenCLIP's architectures."""

from collections.abc import Hashable

from comfy_api.latest import io, ui

from ..encoders.openclip import ACTIVATIONS
from ..encoders.openclip_shapes import AUTO, architectures
from . import inputs
from .loading.files import check_name, fingerprint_of
from .loading.openclip import FITS, PRECISIONS, encoder_files, encoder_path, load_openclip
from .node import AtelierNode

ARCHITECTURE = (
    "auto tells it from the shapes of the tensors, or from an open_clip_config.json beside the file. "
    "Choose a name where shapes cannot tell, such as -quickgelu."
)
ACTIVATION = (
    "No shape tells it. auto: as the library whose layout the file has. Encoders of OpenAI, DFN and MetaCLIP in "
    "OpenCLIP's layout need quick_gelu; Google's SigLIP was trained with gelu_tanh."
)
FIT = (
    "How pictures become square. auto: as the encoder was trained. crop keeps the middle, stretch keeps everything; "
    "a node that crops or stretches by itself is obeyed."
)


class IPAdapterOpenCLIPLoader(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterOpenCLIPLoader",
            display_name="IPAdapter OpenCLIP Loader",
            category="ipadapter/loaders",
            description="Loads a vision encoder of any of OpenCLIP's architectures, with its text tower if the file "
            "has one. Nothing is downloaded.",
            search_aliases=["siglip", "clip vision", "open_clip"],
            inputs=[
                inputs.Choice(
                    "file",
                    options=encoder_files(),
                    tooltip="A checkpoint in models/clip_vision or models/open_clip, in OpenCLIP's or transformers' "
                    "layout.",
                ),
                inputs.Choice("architecture", options=[AUTO, *architectures()], tooltip=ARCHITECTURE),
                inputs.Choice("activation", options=[AUTO, *ACTIVATIONS], tooltip=ACTIVATION),
                inputs.Choice(
                    "precision",
                    options=list(PRECISIONS),
                    tooltip="Precision of the weights in memory; sums are computed in 32 bits. auto: as ComfyUI does "
                    "for its encoders.",
                ),
                inputs.Choice("fit", options=list(FITS), tooltip=FIT),
            ],
            outputs=[
                io.ClipVision.Output(display_name="CLIP_VISION", tooltip="The encoder, for every node that takes one."),
                io.String.Output(display_name="found", tooltip="What the file holds and how pictures are fitted."),
            ],
        )

    @classmethod
    def run(cls, file: str, architecture: str, activation: str, precision: str, fit: str) -> io.NodeOutput:
        vision = load_openclip(encoder_path(file), architecture, activation, precision, fit)
        found = str(vision.encoder)
        return io.NodeOutput(vision, found, ui=ui.PreviewText(found))

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return check_name(encoder_path, file)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, **_: object) -> Hashable:
        return fingerprint_of(encoder_path, file)


NODES: list[type[io.ComfyNode]] = [IPAdapterOpenCLIPLoader]

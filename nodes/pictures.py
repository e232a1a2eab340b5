"""Get reference pictures ready: square and sharp for the encoder, or noised as something to contrast with."""

from comfy_api.latest import io
from torch import Tensor

from ..encoders.noise import NOISES, noisy
from ..encoders.pictures import FILTERS, PAD, SQUARES, prepare_for_encoder
from . import inputs
from .old.appended import AppendedChoice
from .old.forms import UncheckedFloat, without_flag, wrong_number
from .old.methods import NoiseMethod, PrepareMethod
from .old.names import current_filter
from .sockets import ClipVision

SIDES = ("224", "336", "384", "448", "512")  # in pixels, of published vision encoders


class PrepImageForClipVision(PrepareMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PrepImageForClipVision",
            display_name="Prep Image For ClipVision",
            category="ipadapter/utils",
            description=(
                "Makes a reference a square of the encoder's size, so that you choose which part of it is seen."
            ),
            inputs=[
                inputs.image(tooltip="Picture or batch of pictures of any size."),
                inputs.Choice("interpolation", options=list(FILTERS), tooltip="How it is resized: LANCZOS is sharp."),
                inputs.Choice(
                    "crop_position",
                    options=[*SQUARES, PAD],
                    tooltip="Which square of the picture remains. pad keeps the whole picture and adds black borders.",
                ),
                inputs.sharpening(UncheckedFloat),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="Encoder whose size the result gets."),
                AppendedChoice(
                    "size",
                    options=list(SIDES),
                    optional=True,
                    advanced=True,
                    tooltip="Side of the result while no encoder is connected: 224 for most, 336 for Kolors.",
                ),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="Square pictures of the encoder's size.")],
        )

    @classmethod
    def run(
        cls,
        image: Tensor,
        interpolation: str = "LANCZOS",
        crop_position: str = "center",
        sharpening: float = 0.0,
        clip_vision: ClipVision | None = None,
        size: str = "224",
    ) -> io.NodeOutput:
        side = int(size) if clip_vision is None else clip_vision.image_size
        return io.NodeOutput(prepare_for_encoder(image, side, interpolation, crop_position, without_flag(sharpening)))

    @classmethod
    def validate_inputs(cls, interpolation: str | None = None, sharpening: object = 0.0) -> bool | str:
        if interpolation is not None and current_filter(interpolation) not in FILTERS:
            return f"{interpolation!r} is not a filter; choose one of: {', '.join(FILTERS)}"
        return wrong_number(inputs.sharpening(), sharpening) or True


class IPAdapterNoise(NoiseMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterNoise",
            display_name="IPAdapter Noise",
            category="ipadapter/utils",
            description="A noisy picture for image_negative, from which the result moves away.",
            inputs=[
                inputs.Choice(
                    "type",
                    options=list(NOISES),
                    tooltip="fade mixes noise in, dissolve replaces pixels, gaussian adds, shuffle scrambles all.",
                ),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.05, tooltip="0 is the picture."),
                io.Int.Input("blur", default=0, min=0, max=32, step=1, tooltip="Blur after the noise; 0 is none."),
                inputs.image("image_optional", "The picture that is made noisy; else noise on black.", optional=True),
            ],
            outputs=[io.Image.Output(display_name="IMAGE", tooltip="Noisy pictures, 224 by 224.")],
        )

    @classmethod
    def run(
        cls, type: str = "fade", strength: float = 1.0, blur: int = 0, image_optional: Tensor | None = None
    ) -> io.NodeOutput:
        return io.NodeOutput(noisy(type, strength, blur, image_optional))


NODES: list[type[io.ComfyNode]] = [PrepImageForClipVision, IPAdapterNoise]

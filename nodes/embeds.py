"""Encode references once, combine the embeds, save and load them."""

from collections.abc import Hashable

import torch
from comfy_api.latest import io
from torch import Tensor

from ..encoders.encoder import hide_outside
from ..ipadapter.checks import check_weight
from ..ipadapter.embeds import COMBINE, combine
from ..ipadapter.embeds_file import load_embeds
from ..ipadapter.errors import AdapterError, FileNameError
from . import inputs
from .applying.apply import note_black_masks
from .applying.encoding import Encoder, no_embeds
from .loading.adapters import open_pipeline
from .loading.embeds_files import check_prefix, embeds_path, save_numbered, saved_embeds
from .loading.files import check_name, fingerprint_of
from .old.forms import FIRST_ENCODER, UNLINKED, UncheckedFloat, wrong_number
from .old.methods import BatchMethod, EncodeMethod, LoadMethod, SaveMethod
from .sockets import Adapter, ClipVision


def encode(
    ipadapter: Adapter, image: Tensor, weight: float, mask: Tensor | None, clip_vision: ClipVision | None
) -> tuple[Tensor, Tensor]:
    """Embeds of a reference times its weight, and of an empty reference, in the form that the adapter takes."""
    pipeline = open_pipeline(ipadapter, clip_vision)
    if pipeline.adapter.config.needs_face:
        raise AdapterError(
            f"{pipeline.adapter.name} is a FaceID adapter, which needs a face and not only embeds: use an IPAdapter "
            "FaceID node."
        )
    encoder = Encoder(pipeline)
    effect = "the encoder sees no part of the reference"
    note_black_masks([mask], "mask", effect, "on the part of the reference that the encoder should see")
    positive = encoder(image if mask is None else hide_outside(image, mask, encoder.vision))
    # Copies: other nodes may change what they get, and these tensors are stored for later runs.
    return positive * check_weight(weight), no_embeds(pipeline, positive).clone()


def join(embeds: list[Tensor]) -> Tensor:
    """All images of several embeds in one, (n, ...).

    Raises:
        AdapterError: embeds of different kinds or widths.
    """
    shapes = {tuple(part.shape[1:]) for part in embeds}
    if len(shapes) > 1:
        found = ", ".join(str(tuple(part.shape)) for part in embeds)
        raise AdapterError(
            f"Embeds can only be combined when one encoder made them for one kind of adapter; got {found}."
        )
    return torch.cat([part.to(embeds[0]) for part in embeds])


def encoder_weight() -> io.Float.Input:
    tip = "The embeds are multiplied by it."
    return UncheckedFloat("weight", default=1.0, min=-1.0, max=3.0, step=0.01, tooltip=tip)


class IPAdapterEncoder(EncodeMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterEncoder",
            display_name="IPAdapter Encoder",
            category="ipadapter/embeds",
            description="Turns a reference into embeds, with a weight of its own, to be combined, saved or applied.",
            inputs=[
                inputs.ipadapter(),
                inputs.image(),
                encoder_weight(),
                io.Mask.Input(
                    "mask", optional=True, tooltip="White is the part of the reference that the encoder sees."
                ),
                inputs.clip_vision(),
            ],
            outputs=[
                inputs.EmbedsType.Output(display_name="pos_embed", tooltip="Embeds of the reference."),
                inputs.EmbedsType.Output(
                    display_name="neg_embed", tooltip="Embeds of an empty reference, for neg_embed."
                ),
            ],
        )

    @classmethod
    def run(
        cls,
        ipadapter: Adapter,
        image: Tensor,
        weight: float = 1.0,
        mask: Tensor | None = None,
        clip_vision: ClipVision | None = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(*encode(ipadapter, image, float(weight), mask, clip_vision))

    @classmethod
    def validate_inputs(cls, image_1: object = UNLINKED, weight: object = 1.0) -> bool | str:
        if image_1 != UNLINKED or isinstance(weight, bool):
            return FIRST_ENCODER
        return wrong_number(encoder_weight(), weight) or True


class IPAdapterCombineEmbeds(BatchMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterCombineEmbeds",
            display_name="IPAdapter Combine Embeds",
            category="ipadapter/embeds",
            description="Several encoded references as one: side by side, or mixed.",
            inputs=[
                inputs.embeds("embed1"),
                inputs.Choice(
                    "method",
                    options=list(COMBINE),
                    tooltip="concat keeps every reference; the others mix all of them into one.",
                ),
                *(inputs.embeds(f"embed{number}", optional=True) for number in range(2, 6)),
            ],
            outputs=[inputs.EmbedsType.Output(display_name="EMBEDS", tooltip="The combined embeds.")],
        )

    @classmethod
    def run(
        cls,
        embed1: Tensor,
        method: str,
        embed2: Tensor | None = None,
        embed3: Tensor | None = None,
        embed4: Tensor | None = None,
        embed5: Tensor | None = None,
    ) -> io.NodeOutput:
        given = (embed1, embed2, embed3, embed4, embed5)
        return io.NodeOutput(combine(join([part for part in given if part is not None]), method))


class IPAdapterSaveEmbeds(SaveMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterSaveEmbeds",
            display_name="IPAdapter Save Embeds",
            category="ipadapter/embeds",
            description="Saves embeds in the output folder under a new number; IPAdapter Load Embeds lists them.",
            is_output_node=True,
            inputs=[
                inputs.embeds(),
                io.String.Input(
                    "filename_prefix",
                    default="IP_embeds",
                    tooltip="Beginning of the file's name; may contain subfolders.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool | str:
        if filename_prefix is None:
            return True  # arrives through a link
        try:
            check_prefix(filename_prefix)
        except FileNameError as error:
            return str(error)
        return True

    @classmethod
    def run(cls, embeds: Tensor, filename_prefix: str = "IP_embeds") -> io.NodeOutput:
        return io.NodeOutput(ui={"text": [save_numbered(embeds, filename_prefix)]})


class IPAdapterLoadEmbeds(LoadMethod):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterLoadEmbeds",
            display_name="IPAdapter Load Embeds",
            category="ipadapter/embeds",
            description="Loads embeds from the input folder or from a file of IPAdapter Save Embeds.",
            inputs=[
                inputs.Choice(
                    "embeds", options=saved_embeds(), tooltip="A saved file; [output] marks those in the output folder."
                )
            ],
            outputs=[inputs.EmbedsType.Output(display_name="EMBEDS", tooltip="The saved embeds.")],
        )

    @classmethod
    def run(cls, embeds: str) -> io.NodeOutput:
        return io.NodeOutput(load_embeds(embeds_path(embeds)))

    @classmethod
    def validate_inputs(cls, embeds: str | None = None) -> bool | str:
        return check_name(embeds_path, embeds)

    @classmethod
    def fingerprint_inputs(cls, embeds: str | None = None) -> Hashable:
        return fingerprint_of(embeds_path, embeds)


NODES: list[type[io.ComfyNode]] = [
    IPAdapterEncoder,
    IPAdapterCombineEmbeds,
    IPAdapterSaveEmbeds,
    IPAdapterLoadEmbeds,
]

"""A CLIP_VISION for pictures of another size: its position embeddings are interpolated while it encodes.

And a note on a CLIP_VISION whose own size is not that of the adapter's training.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
from torch import Tensor, nn

from ...encoders.positions import interpolate_positions
from ...ipadapter.errors import EncoderMismatchError
from ...ipadapter.presets import encoders_for
from ..host_types import HostEncoder
from ..notices import say_notes
from .adapters import Pipeline

PATCH = 14  # pixels: side of a patch in all encoders of published adapters


class Resized:
    """A CLIP_VISION whose pictures are `side` x `side` pixels; the CLIP_VISION itself does not change.

    Raises:
        EncoderMismatchError: this is no CLIP encoder, or `side` is no multiple of the side of its patches.
    """

    def __init__(self, clip_vision: HostEncoder, side: int) -> None:
        self.clip_vision = copy.copy(clip_vision)  # shares the network
        self.clip_vision.image_size = self.image_size = side
        self.image_mean = clip_vision.image_mean
        self.crop = getattr(clip_vision, "crop", True)
        self.owner, self.name, patch = positions_of(clip_vision.model)
        if side % patch:
            raise EncoderMismatchError(
                f"The adapter was trained with pictures of {side} pixels, which this vision encoder cannot cut into "
                f"whole patches of {patch} pixels: connect the encoder that the adapter names."
            )
        self.tokens = (side // patch) ** 2 + 1

    def encode_image(self, image: Tensor, **how: Any) -> Any:
        """The output of the CLIP_VISION for pictures (n, h, w, 3)."""
        comfy.model_management.load_model_gpu(self.clip_vision.patcher)  # first: it may move the embeddings
        with self._interpolated():
            return self.clip_vision.encode_image(image, **how)

    @contextmanager
    def _interpolated(self) -> Iterator[None]:
        table = getattr(self.owner, self.name)
        setattr(self.owner, self.name, nn.Parameter(interpolate_positions(table, self.tokens), requires_grad=False))
        try:
            yield
        finally:
            setattr(self.owner, self.name, table)


def positions_of(network: Any) -> tuple[Any, str, int]:
    """The module of a CLIP's position embeddings, their name in it, and the side of a patch in pixels.

    Raises:
        EncoderMismatchError: the network is neither ComfyUI's CLIP nor OpenCLIP's vision transformer.
    """
    embeddings: Any = getattr(getattr(network, "vision_model", None), "embeddings", None)
    if getattr(embeddings, "class_embedding", None) is not None and hasattr(embeddings, "position_embedding"):
        return embeddings.position_embedding, "weight", embeddings.patch_embedding.kernel_size[0]
    if hasattr(network, "positional_embedding") and hasattr(network, "conv1"):
        return network, "positional_embedding", network.conv1.kernel_size[0]
    raise EncoderMismatchError(
        f"The adapter was trained with larger pictures than this vision encoder ({type(network).__name__}) takes, and "
        "only the position embeddings of CLIP encoders can be interpolated: connect the CLIP that the adapter names."
    )


def note_picture_size(pipeline: Pipeline) -> None:
    """Show a note if a connected encoder takes pictures of another size than the one of the adapter's training.

    Sizes are compared in patches, since widths alone do not tell such encoders apart. The loaders take none of them.
    """
    config, side = pipeline.adapter.config, getattr(pipeline.clip_vision, "image_size", 0)
    trained = [(file.title, math.isqrt(file.sizes[2])) for file in encoders_for(config) if file.sizes]
    if not trained or side < 1 or config.training.side or any(patches == side // PATCH for _, patches in trained):
        return
    say_notes([
        f"The vision encoder takes pictures of {side} pixels, and {pipeline.adapter.name} was trained with "
        f"{trained[0][0]}: the picture follows the reference less well. Connect that one, or use an IPAdapter Unified "
        "Loader, which finds it."
    ])  # fmt: skip

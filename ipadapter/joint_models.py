"""Transformers whose self-attention joins text and picture: how each family is read, for riding references.

In all of them the text comes first, then the picture, then what is behind it: reference pictures of an edit model, or
tokens that fill up the sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from .sites import FLUX_BLOCKS, JOINT_BLOCKS, KREA_BLOCKS, LUMINA_BLOCKS, QWEN_BLOCKS, Structure


@dataclass(frozen=True)
class JointModel:
    """A family of transformers with joint attention.

    `text_width` reads the width of the texts that a model takes, 0 if it is unknown. `positions` is the name of the
    module that makes rotary embeddings, "" for a model without them. `first_column` gives the position of a picture's
    first column from its number of columns. `behind_text`: positions of the picture begin behind those of the text.
    `repeats` reads how many heads of queries share a head of keys. `fills` reads the number of tokens to whose multiple
    the picture is filled up. `numbered`: the options of an attention have the number of its block.
    """

    name: str
    structure: Structure
    text_width: Callable[[Any], int]
    positions: str = "pe_embedder"
    first_column: Callable[[int], int] = lambda columns: 0
    behind_text: bool = False
    repeats: Callable[[Any], int] = lambda model: 1
    fills: Callable[[Any], int] = lambda model: 1
    numbered: bool = True

    def columns_aside(self, picture: int, reference: int) -> int:
        """The number of columns by which a reference moves to stand on the right of a picture; both in columns."""
        return picture + self.first_column(picture) - self.first_column(reference)


def in_features(layer: Any) -> int:
    return getattr(layer, "in_features", 0)


FLUX = JointModel("Flux", FLUX_BLOCKS, lambda model: in_features(model.txt_in))
SD35 = JointModel(
    "SD3.5",
    JOINT_BLOCKS,
    lambda model: in_features(model.context_embedder),
    positions="",  # they are added to the picture before the first block
    numbered=False,
)
QWEN = JointModel(
    "Qwen-Image",
    QWEN_BLOCKS,
    lambda model: in_features(model.txt_in),
    first_column=lambda columns: -(columns // 2),  # positions are counted from the middle
)
Z_IMAGE = JointModel(
    "Z-Image",
    LUMINA_BLOCKS,
    lambda model: in_features(model.cap_embedder[1]),
    positions="rope_embedder",
    behind_text=True,
    repeats=lambda model: model.layers[0].attention.n_rep,
    fills=lambda model: model.pad_tokens_multiple or 1,
)
KREA = JointModel(
    "Krea 2",
    KREA_BLOCKS,
    lambda model: model.txtlayers * model.txtdim,
    repeats=lambda model: model.blocks[0].attn.heads // model.blocks[0].attn.kvheads,
)
JOINT_MODELS = {  # by ComfyUI's class
    "Flux": FLUX,
    "OpenAISignatureMMDITWrapper": SD35,
    "QwenImageTransformer2DModel": QWEN,
    "Chroma": replace(FLUX, name="Chroma"),
    "NextDiT": Z_IMAGE,
    "SingleStreamDiT": KREA,
}
NAMES = ", ".join(dict.fromkeys(family.name for family in JOINT_MODELS.values()))


def joint_model_of(model: Any) -> JointModel | None:
    """The family of a diffusion model, by its class; None if it is unknown.

    Only these very classes are known: those that derive from them, such as models in pixel space, were not tried.
    """
    return JOINT_MODELS.get(type(getattr(model, "_orig_mod", model)).__name__)  # torch.compile wraps the model

"""The order of tokens in edit models: where text, picture and references are in the sequence.

Flux Kontext, Flux.2, Qwen-Image-Edit, Krea 2 and Mage-Flow join all tokens in one sequence: text, picture, and the
references in the order in which the conditioning names them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from itertools import accumulate, pairwise
from typing import Any

from .errors import ModelMismatchError
from .sites import FLUX_BLOCKS, KREA_BLOCKS, QWEN_BLOCKS, known_structure_of

SUPPORTED = "Flux Kontext, Flux.2, Qwen-Image-Edit, Krea 2, Mage-Flow"
JOINED = (FLUX_BLOCKS, QWEN_BLOCKS, KREA_BLOCKS)  # structures of models that may append references to the picture
ORDERED_OTHERWISE = {  # ComfyUI's classes of models with reference pictures in another order
    "JoyImageTransformer3DModel", "OmniGen2Transformer2DModel", "BooguTransformer2DModel", "HiDreamO1Transformer",
    "HiDreamImageTransformer2DModel", "WanModel",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """The order of the keys in a joint attention: `text` tokens, `picture` tokens, then `sizes[i]` tokens of each
    reference.
    """

    text: int
    picture: int
    sizes: tuple[int, ...]

    # Each is read in every layer of a step, so it is computed once.

    @cached_property
    def head(self) -> int:
        """The number of tokens before the references."""
        return self.text + self.picture

    @cached_property
    def of_picture(self) -> slice:
        return slice(self.text, self.head)

    @cached_property
    def keys(self) -> int:
        return self.head + sum(self.sizes)

    @cached_property
    def references(self) -> tuple[slice, ...]:
        """The slice of every reference among the keys."""
        ends = accumulate(self.sizes, initial=self.head)
        return tuple(slice(begin, end) for begin, end in pairwise(ends))


def layout_of(keys: int, rows: int, picture: int, sizes: Sequence[int]) -> Layout | None:
    """The layout of an attention with this many keys and rows; None if the numbers do not fit picture and references.

    Tokens are counted from the end of the keys, because the text may have any length. ComfyUI's Flux KV Cache leaves
    out the rows of references, but not their keys.
    """
    layout = Layout(keys - picture - sum(sizes), picture, tuple(sizes))
    return layout if layout.text >= 0 and rows in (keys, layout.head) else None


def check_takes_references(model: Any) -> None:
    """ModelMismatchError if the diffusion model takes no reference pictures, or takes them in an unknown order."""
    model = getattr(model, "_orig_mod", model)  # torch.compile wraps the model
    name = type(model).__name__
    bases = {base.__name__ for base in type(model).__mro__}
    if bases & ORDERED_OTHERWISE or getattr(model, "siglip_embedder", None) is not None:  # which Z-Image Omni has
        raise ModelMismatchError(
            f"This model ({name}) takes reference pictures, but ComfyUI does not say where they are; supported: "
            f"{SUPPORTED}."
        )
    structure = known_structure_of(model)
    if structure is None and not type(model).__module__.startswith("comfy."):
        raise ModelMismatchError(
            f"This model ({name}) has another pack's own class, so it is not known where its reference pictures are. "
            "Load it with ComfyUI's own loader (Load Diffusion Model)."
        )
    if structure not in JOINED or "ref_latents" not in signature(model.forward).parameters:
        raise ModelMismatchError(
            f"This model ({name}) takes no reference pictures of its own. IPAdapter Reference Attention lets it follow "
            "one."
        )


def heeds_references(model: Any, conds: Mapping[str, Any]) -> bool:
    """Whether a model appends the references of a call to the picture; Krea 2 does so only with a reference method."""
    if known_structure_of(model) is not KREA_BLOCKS:
        return True
    return conds.get("ref_latents_method", model.default_ref_method) is not None


def token_counts(model: Any, shape: Sequence[int]) -> tuple[int, int, int]:
    """Frames, rows and columns of tokens for a latent of shape (b, c, h, w) or (b, c, t, h, w)."""
    patch = getattr(model, "patch_size", None) or model.patch
    frames = shape[2] if len(shape) == 5 and known_structure_of(model) is QWEN_BLOCKS else 1  # Krea 2 has them as rows
    return frames, -(-shape[-2] // patch), -(-shape[-1] // patch)


def layer_number(model: Any, options: Mapping[str, Any]) -> int | None:
    """The layer of an attention, from its transformer options; None outside of the model's blocks."""
    if "block_index" not in options:
        return None  # attentions of Krea 2 for the text alone
    double = getattr(model, "double_blocks", ()) if options.get("block_type") == "single" else ()
    return options["block_index"] + len(double)

"""Sites: the cross-attentions of a UNet, or the blocks of a diffusion transformer, in which image prompts act.

The structure of a model, its kinds of blocks, decides how its sites are listed. This module imports no torch, and of
the pack only its errors, because `weight_schedules` imports it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ModelMismatchError

Block = tuple[str, int]  # part of the model and number in it: ("input", 8), ("middle", 0), ("double", 3)
Address = tuple[str, int, int]  # part, number in it, position inside the block's transformer
Layer = int  # number of a UNet's transformer, or of a transformer's block, in execution order
SiteNumber = int  # number of a site in execution order
KeyNumber = int  # number that a checkpoint gives to the weights of a site, in the checkpoint's own order


@dataclass(frozen=True)
class Site:
    """A location in a model where image prompts act: a cross-attention of a UNet, or a block of a transformer."""

    layer: Layer
    block: Block
    position: int  # number in its transformer, from 0
    depth: int  # number of sites in its transformer
    heads: int
    channels: int
    context_dim: int  # width of the text that it reads
    patch: int = 1  # latent pixels along the side of a token, in transformers; 1 in UNets, where levels differ
    along_frames: bool = False  # whether a video model has a second cross-attention at this address, along its frames
    preferred_attention: Any = None  # attention backend that a checkpoint names, for ComfyUI 0.32 and later
    preferred_self_attention: Any = None  # the same of the self-attention in a UNet's block

    @property
    def address(self) -> Address:
        return (*self.block, self.position)

    @property
    def path(self) -> str:
        """The path of its block in the diffusion model."""
        part, number = self.block
        return "middle_block" if part == "middle" else f"{part}_blocks.{number}"


@dataclass(frozen=True, eq=False)
class Structure:
    """The kinds of blocks of a model, independent of its weights.

    `parts` are in execution order, each with ComfyUI's name for a block of it. `marks` are the attributes by which a
    diffusion model is recognised. `sites` lists every site of such a model in execution order. A structure without
    published adapters has no sites, only `blocks`: the name of the attribute with the blocks of its single part.
    """

    name: str  # key in doctor/host_needs.py, which lists what the patches need of ComfyUI
    parts: Mapping[str, str]
    marks: tuple[str, ...]
    sites: Callable[[Any], tuple[Site, ...]] | None = None
    blocks: str = ""

    def fits(self, model: Any) -> bool:
        return all(hasattr(model, mark) for mark in self.marks)

    def layers(self, model: Any) -> tuple[Block, ...]:
        """The layers of a model of this structure, in execution order."""
        if self.sites is not None:
            return layer_blocks(self.sites(model))
        (part,) = self.parts
        return tuple((part, number) for number in range(len(getattr(model, self.blocks))))


def _transformers(unet: Any) -> Iterator[tuple[Block, Any]]:
    groups = [
        ("input", list(unet.input_blocks)),
        ("middle", [getattr(unet, "middle_block", None)]),
        ("output", list(unet.output_blocks)),
    ]
    for name, modules in groups:
        for number, module in enumerate(modules):
            for transformer in _outermost_transformers(module) if module is not None else ():
                yield (name, number), transformer


def _outermost_transformers(module: Any) -> Iterator[Any]:
    """The transformers of a block. Modules inside of a transformer, which are most of a UNet's, are not searched."""
    if hasattr(module, "transformer_blocks"):
        yield module
    else:
        for child in module.children():
            yield from _outermost_transformers(child)


def find_cross_attentions(unet: Any) -> tuple[Site, ...]:
    """Every cross-attention of a UNet, in execution order; ModelMismatchError for a UNet that has none."""
    found: list[Site] = []
    for layer, (block, transformer) in enumerate(_transformers(unet)):
        blocks, video = transformer.transformer_blocks, hasattr(transformer, "time_stack")
        for position, inner in enumerate(blocks):
            if (attention := getattr(inner, "attn2", None)) is not None:
                heads, head_width, to_k = _sizes(attention, "heads", "dim_head", "to_k")
                sizes = (len(blocks), heads, heads * head_width, to_k.in_features)
                both = (attention, getattr(inner, "attn1", None))
                preferred = [getattr(module, "preferred_attention", None) for module in both]
                found.append(Site(layer, block, position, *sizes, 1, video, *preferred))
    if not found:
        raise ModelMismatchError(
            f"This {type(unet).__name__} has no cross-attention layer, so no IP-Adapter can act in it."
        )
    return tuple(found)


def _sizes(module: Any, *names: str) -> list[Any]:
    """The values of some attributes of a module; ModelMismatchError if it lacks any of them."""
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        raise ModelMismatchError(
            f"A module of this model is a {type(module).__module__}.{type(module).__qualname__}, which has no "
            f"{' and no '.join(missing)}, so the place of an image prompt in it is unknown. Another custom node put it "
            "there: load the model with one of ComfyUI's own loaders."
        )
    return [getattr(module, name) for name in names]


def find_flux_blocks(model: Any) -> tuple[Site, ...]:
    """Every block of Flux or of its relative Chroma, in execution order: the double ones, then the single ones."""
    blocks = [(("double", i), block) for i, block in enumerate(model.double_blocks)]
    blocks += [(("single", i), block) for i, block in enumerate(model.single_blocks)]
    text = getattr(model.txt_in, "in_features", 0)
    return tuple(
        Site(layer, block, 0, 1, heads, channels, text, model.patch_size)
        for layer, (block, module) in enumerate(blocks)
        for heads, channels in [_sizes(module, "num_heads", "hidden_size")]
    )


def find_joint_blocks(model: Any) -> tuple[Site, ...]:
    """Every joint block of SD3 or SD3.5, in execution order."""
    text = getattr(model.context_embedder, "in_features", 0)
    attentions = [block.x_block.attn for block in model.joint_blocks]
    return tuple(
        Site(i, ("joint", i), 0, 1, attn.num_heads, attn.num_heads * attn.head_dim, text, model.patch_size)
        for i, attn in enumerate(attentions)
    )


UNET = Structure(
    "unet",
    {part: part for part in ("input", "middle", "output")},
    ("input_blocks", "output_blocks"),
    find_cross_attentions,
)
FLUX_BLOCKS = Structure(
    "flux",
    {"double": "double_block", "single": "single_block"},
    ("double_blocks", "single_blocks", "pe_embedder"),
    find_flux_blocks,
)
JOINT_BLOCKS = Structure(
    "mmdit",
    {"joint": "double_block"},
    ("joint_blocks", "context_embedder"),
    find_joint_blocks,
)
# Edit models, which take reference pictures themselves: Qwen-Image and Mage-Flow, and Krea 2.
QWEN_BLOCKS = Structure(
    "qwen",
    {"block": "double_block"},
    ("transformer_blocks", "txt_norm", "time_text_embed", "pe_embedder"),
    blocks="transformer_blocks",
)
KREA_BLOCKS = Structure("krea", {"block": "block"}, ("blocks", "txtfusion", "pe_embedder"), blocks="blocks")
# Z-Image and Lumina 2.
LUMINA_BLOCKS = Structure(
    "lumina", {"block": "double_block"}, ("layers", "cap_embedder", "noise_refiner", "rope_embedder"), blocks="layers"
)
STRUCTURES = (UNET, FLUX_BLOCKS, JOINT_BLOCKS, QWEN_BLOCKS, KREA_BLOCKS, LUMINA_BLOCKS)


def known_structure_of(model: Any) -> Structure | None:
    """The structure of a diffusion model, also if no adapter can act in it; None if it is unknown."""
    return next((structure for structure in STRUCTURES if structure.fits(model)), None)


def structure_of(model: Any) -> Structure:
    """The structure of a diffusion model that adapters can act in; ModelMismatchError for any other model."""
    structure = known_structure_of(model)
    if structure is None or structure.sites is None:
        raise ModelMismatchError(
            "IP-Adapter needs a UNet with cross-attention (SD1.5, SDXL and their relatives), Flux or SD3.5; this model "
            f"is a {type(model).__name__}."
        )
    return structure


def structure_of_blocks(blocks: Sequence[Block]) -> Structure | None:
    """The structure whose parts these blocks belong to; None if there is none."""
    return next((structure for structure in STRUCTURES if blocks and blocks[0][0] in structure.parts), None)


def find_sites(model: Any) -> tuple[Site, ...]:
    """Every site of a diffusion model, in execution order; ModelMismatchError if no adapter can act in it."""
    sites = structure_of(model).sites
    assert sites is not None  # structure_of refuses structures without sites
    return sites(model)


def find_layers(model: Any) -> tuple[Block, ...]:
    """Every layer of a diffusion model, in execution order, also if no adapter can act in it; ModelMismatchError if the
    structure is unknown.
    """
    return (known_structure_of(model) or structure_of(model)).layers(model)


def layer_blocks(sites: Sequence[Site]) -> tuple[Block, ...]:
    """The block of every layer, in execution order: SD1.5 has 16, SDXL 11."""
    blocks = {site.layer: site.block for site in sites}
    return tuple(blocks[layer] for layer in sorted(blocks))

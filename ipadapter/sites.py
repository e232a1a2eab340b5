"""Sites: where in a model image prompts act. In a UNet these are its cross-attentions, in a diffusion transformer its
blocks. What kind of model it is, its structure, says how they are found.

Imports no torch, and of the pack only its errors, because `weight_schedules` reads this module too.
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
    position: int  # in its transformer
    depth: int  # sites of its transformer
    heads: int
    channels: int
    context_dim: int  # width of the text that it reads
    patch: int = 1  # latent pixels along the side of a token, where that is the same everywhere
    along_frames: bool = False  # whether a video model has a second cross-attention at this address, along its frames

    @property
    def address(self) -> Address:
        return (*self.block, self.position)


@dataclass(frozen=True, eq=False)
class Structure:
    """What blocks a model has, whatever its weights are.

    `parts` are in execution order, each with ComfyUI's word for a block of it. `marks` are the attributes by which a
    diffusion model is recognised. `sites` gives every site of such a model in execution order.
    """

    name: str  # by which doctor/host_needs.py says what a changed ComfyUI would draw wrong
    parts: Mapping[str, str]
    marks: tuple[str, ...]
    sites: Callable[[Any], tuple[Site, ...]]

    def fits(self, model: Any) -> bool:
        return all(hasattr(model, mark) for mark in self.marks)


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
    """A block's transformers. The modules inside a transformer, most of a UNet, are not searched."""
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
                width = attention.heads * attention.dim_head
                text_width = attention.to_k.in_features
                sizes = (len(blocks), attention.heads, width, text_width)
                found.append(Site(layer, block, position, *sizes, along_frames=video))
    if not found:
        raise ModelMismatchError(
            f"This {type(unet).__name__} has no cross-attention layer, so no IP-Adapter can act in it."
        )
    return tuple(found)


def find_flux_blocks(model: Any) -> tuple[Site, ...]:
    """Every block of Flux or of its relative Chroma, in execution order: the double ones, then the single ones."""
    blocks = [(("double", i), block) for i, block in enumerate(model.double_blocks)]
    blocks += [(("single", i), block) for i, block in enumerate(model.single_blocks)]
    text = getattr(model.txt_in, "in_features", 0)
    return tuple(
        Site(layer, block, 0, 1, module.num_heads, module.hidden_size, text, model.patch_size)
        for layer, (block, module) in enumerate(blocks)
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
STRUCTURES = (UNET, FLUX_BLOCKS, JOINT_BLOCKS)


def structure_of(model: Any) -> Structure:
    """The structure of a diffusion model; ModelMismatchError for a model with any other."""
    for structure in STRUCTURES:
        if structure.fits(model):
            return structure
    raise ModelMismatchError(
        "IP-Adapter needs a UNet with cross-attention (SD1.5, SDXL and their relatives), Flux or SD3.5; this model is "
        f"a {type(model).__name__}."
    )


def structure_of_blocks(blocks: Sequence[Block]) -> Structure | None:
    """The structure of a model that has its layers at these blocks."""
    return next((structure for structure in STRUCTURES if blocks and blocks[0][0] in structure.parts), None)


def find_sites(model: Any) -> tuple[Site, ...]:
    """Every site of a diffusion model, in execution order; ModelMismatchError for one where no adapter could act."""
    return structure_of(model).sites(model)


def layer_blocks(sites: Sequence[Site]) -> tuple[Block, ...]:
    """The block of every layer, in execution order: SD1.5 has 16, SDXL 11."""
    blocks = {site.layer: site.block for site in sites}
    return tuple(blocks[layer] for layer in sorted(blocks))

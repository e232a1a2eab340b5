"""Sites: where in a model image prompts act, and which adapter weights belong to each. In a UNet these are its
cross-attentions, in a diffusion transformer its blocks.

Two orders of a UNet exist and are kept apart by name. *Execution order* is input, middle, output blocks; a layer is a
spatial transformer's running number in it. *Checkpoint order* is input, output, middle: the n-th cross-attention in it
owns the keys numbered 2n + 1.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ModelMismatchError
from .families import Block, Place, full_places

Address = tuple[str, int, int]  # block, number, position inside the block's transformer


@dataclass(frozen=True)
class Site:
    """A place where image prompts act, a cross-attention of a UNet or a block of a transformer: its layer, its address
    and its sizes.
    """

    layer: int  # number of a UNet's transformer or of a block, in the order in which the model runs them
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


def is_unet(model: Any) -> bool:
    """Whether a diffusion model has the input, middle and output blocks of a UNet."""
    return hasattr(model, "input_blocks") and hasattr(model, "output_blocks")


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
            f"This {type(unet).__name__} has no cross-attention layer, so there is nothing an IP-Adapter could "
            "attend from."
        )
    return tuple(found)


def is_flux(model: Any) -> bool:
    """Whether a diffusion model has Flux's double and single blocks: Flux and its relatives, Chroma."""
    return all(hasattr(model, name) for name in ("double_blocks", "single_blocks", "pe_embedder"))


def find_flux_blocks(model: Any) -> tuple[Site, ...]:
    """Every block of a Flux model, in the order in which they run: the double ones, then the single ones."""
    blocks = [(("double", i), block) for i, block in enumerate(model.double_blocks)]
    blocks += [(("single", i), block) for i, block in enumerate(model.single_blocks)]
    text = getattr(model.txt_in, "in_features", 0)
    return tuple(
        Site(layer, block, 0, 1, module.num_heads, module.hidden_size, text, model.patch_size)
        for layer, (block, module) in enumerate(blocks)
    )


def is_mmdit(model: Any) -> bool:
    """Whether a diffusion model has the joint blocks of SD3 and SD3.5."""
    return hasattr(model, "joint_blocks") and hasattr(model, "context_embedder")


def find_joint_blocks(model: Any) -> tuple[Site, ...]:
    """Every joint block of an SD3 model, in the order in which they run."""
    text = getattr(model.context_embedder, "in_features", 0)
    attentions = [block.x_block.attn for block in model.joint_blocks]
    return tuple(
        Site(i, ("joint", i), 0, 1, attn.num_heads, attn.num_heads * attn.head_dim, text, model.patch_size)
        for i, attn in enumerate(attentions)
    )


# How a model is told by its structure, and where image prompts act in it; nodes/sampling/attach.py has what acts there.
STRUCTURES: dict[str, tuple[Callable[[Any], bool], Callable[[Any], tuple[Site, ...]]]] = {
    "unet": (is_unet, find_cross_attentions),
    "flux": (is_flux, find_flux_blocks),
    "mmdit": (is_mmdit, find_joint_blocks),
}


def structure_of(model: Any) -> str:
    """The structure of a diffusion model, a key of STRUCTURES; ModelMismatchError for any other model."""
    for name, (fits, _) in STRUCTURES.items():
        if fits(model):
            return name
    raise ModelMismatchError(
        "IP-Adapter needs a UNet with cross-attention (SD1.5, SDXL and their relatives), Flux or SD3.5; this model is "
        f"a {type(model).__name__}."
    )


def find_sites(model: Any) -> tuple[Site, ...]:
    """Every site of a diffusion model, in execution order; ModelMismatchError for one where no adapter could act."""
    _, sites = STRUCTURES[structure_of(model)]
    return sites(model)


def layer_blocks(sites: Sequence[Site]) -> tuple[Block, ...]:
    """The block of every layer, in execution order: SD1.5 has 16, SDXL 11."""
    blocks = {site.layer: site.block for site in sites}
    return tuple(blocks[layer] for layer in sorted(blocks))


def reached(sites: Sequence[Site], parts: Sequence[str]) -> tuple[Site, ...]:
    """The sites in some parts of a model, in execution order."""
    return tuple(site for site in sites if site.block[0] in parts)


def match_blocks(sites: Sequence[Site], channels: Mapping[int, int]) -> tuple[int, ...]:
    """The checkpoint's number for every block of a transformer: both count in the order in which the model runs them.

    ModelMismatchError where their number or width differs, as in pruned models.
    """
    numbers, found = sorted(channels), [site.channels for site in sites]
    if [channels[number] for number in numbers] != found:
        parts = " and ".join(dict.fromkeys(site.block[0] for site in sites))
        raise ModelMismatchError(
            f"The adapter has weights for {len(numbers)} {parts} blocks {_widths(channels.values())} wide, and the "
            f"model has {len(found)} {parts} blocks {_widths(found)} wide. Use the full model that the adapter was "
            "made for: adapters for Flux need its 19 double and 38 single blocks, SD3.5's the 38 blocks of SD3.5 Large."
        )
    return tuple(numbers)


def _widths(widths: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(set(widths))))


def checkpoint_order(sites: Sequence[Site]) -> list[Site]:
    """Sites as checkpoints number them: input, output, middle blocks."""
    rank = {"input": 0, "output": 1, "middle": 2}
    return sorted(sites, key=lambda site: rank[site.block[0]])  # stable: execution order within


def match_keys(sites: Sequence[Site], channels: Mapping[int, int]) -> tuple[int, ...]:
    """The checkpoint's key number for every site; `channels` are those of each key number.

    A UNet with as many cross-attentions as the adapter is matched in checkpoint order. A pruned one (SSD-1B, Vega,
    KOALA) keeps the first ones of every level, and is matched by level against the full UNet the adapter was made for.
    Raises ModelMismatchError where neither works.
    """
    places = _places(sites)
    if len(sites) == len(channels):
        in_order = [places[site] for site in checkpoint_order(sites)]
        known = dict(zip(in_order, sorted(channels), strict=True))
    else:
        full = full_places([channels[number] for number in sorted(channels)])
        known = {place: number for number, place in zip(sorted(channels), full, strict=False)}
    numbers = tuple(known.get(places[site], 0) for site in sites)
    for site, number in zip(sites, numbers, strict=True):
        if channels.get(number) != site.channels:
            found = f"weights {channels[number]} wide" if number in channels else "no weights"
            raise ModelMismatchError(
                f"The adapter has {len(channels)} cross-attention layers and the model {len(sites)}, which do not "
                f"line up: for {' '.join(map(str, site.address))}, {site.channels} wide, it has {found}. "
                "Use an adapter made for this model: 16 layers fit SD1.5, 70 fit SDXL."
            )
    return numbers


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
    """A block's transformers. What is inside of one is left alone: most modules of a UNet are."""
    if hasattr(module, "transformer_blocks"):
        yield module
    else:
        for child in module.children():
            yield from _outermost_transformers(child)


def _places(sites: Sequence[Site]) -> dict[Site, Place]:
    """Part, level by width, number of the transformer in that level, position in the transformer."""
    levels = sorted({site.channels for site in sites})
    transformers: dict[tuple[str, int], list[int]] = {}
    for site in sites:
        seen = transformers.setdefault((site.block[0], site.channels), [])
        if site.layer not in seen:
            seen.append(site.layer)
    return {
        site: (
            site.block[0],
            levels.index(site.channels),
            transformers[site.block[0], site.channels].index(site.layer),
            site.position,
        )
        for site in sites
    }

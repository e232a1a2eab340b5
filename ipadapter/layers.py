"""The cross-attention layers of a UNet, and which adapter weights belong to each.

Two orders exist and are kept apart by name. *Execution order* is input, middle, output blocks; a layer is a spatial
transformer's running number in it. *Checkpoint order* is input, output, middle: the n-th cross-attention in it owns
the keys numbered 2n + 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import ModelMismatchError

Block = tuple[str, int]  # ComfyUI's address of a UNet block: ("input", 8), ("middle", 0), ("output", 1)
Address = tuple[str, int, int]  # block, number, position inside the block's transformer
Place = tuple[str, int, int, int]  # where it stands in its UNet, whatever the blocks are numbered


@dataclass(frozen=True)
class CrossAttention:
    """One cross-attention of a UNet: its layer, its address and its sizes."""

    layer: int
    block: Block
    position: int
    depth: int
    heads: int
    channels: int
    context_dim: int

    @property
    def address(self) -> Address:
        return (*self.block, self.position)


def find_cross_attentions(unet: Any) -> tuple[CrossAttention, ...]:
    """Every cross-attention of a UNet, in execution order.

    Raises ModelMismatchError for a model that is not such a UNet (Flux, SD3 and other transformers have no decoupled
    cross-attention).
    """
    if not hasattr(unet, "input_blocks") or not hasattr(unet, "output_blocks"):
        raise ModelMismatchError(
            "IP-Adapter needs a UNet with cross-attention (SD1.5, SDXL and their relatives); this model is a "
            f"{type(unet).__name__}."
        )
    found: list[CrossAttention] = []
    for layer, (block, transformer) in enumerate(_transformers(unet)):
        blocks = transformer.transformer_blocks
        for position, inner in enumerate(blocks):
            attention = getattr(inner, "attn2", None)
            if attention is None:
                continue
            heads = attention.heads
            channels = heads * attention.dim_head
            found.append(
                CrossAttention(layer, block, position, len(blocks), heads, channels, attention.to_k.in_features)
            )
    if not found:
        raise ModelMismatchError(
            f"This {type(unet).__name__} has no cross-attention layer, so there is nothing an IP-Adapter could "
            "attend from."
        )
    return tuple(found)


def layer_blocks(attentions: Sequence[CrossAttention]) -> tuple[Block, ...]:
    """The block of every layer, in execution order: SD1.5 has 16, SDXL 11."""
    blocks = {attention.layer: attention.block for attention in attentions}
    return tuple(blocks[layer] for layer in sorted(blocks))


def checkpoint_order(attentions: Sequence[CrossAttention]) -> list[CrossAttention]:
    """Cross-attentions as checkpoints number them: input, output, middle blocks."""
    rank = {"input": 0, "output": 1, "middle": 2}
    return sorted(attentions, key=lambda a: rank[a.block[0]])  # stable: execution order within


def match_keys(attentions: Sequence[CrossAttention], channels: Mapping[int, int]) -> tuple[int, ...]:
    """The checkpoint's key number for every cross-attention; `channels` are those of each key number.

    A UNet with as many cross-attentions as the adapter is matched in checkpoint order. A pruned one (SSD-1B, Vega,
    KOALA) keeps the first ones of every level, and is matched by level against the full UNet the adapter was made for.
    Raises ModelMismatchError where neither works.
    """
    places = _places(attentions)
    if len(attentions) == len(channels):
        in_order = [places[attention] for attention in checkpoint_order(attentions)]
        known = dict(zip(in_order, sorted(channels), strict=True))
    else:
        known = {place: 2 * number + 1 for number, place in enumerate(FULL_UNETS.get(len(channels), ()))}
    numbers = tuple(known.get(places[attention], 0) for attention in attentions)
    for attention, number in zip(attentions, numbers, strict=True):
        if channels.get(number) != attention.channels:
            found = f"weights {channels[number]} wide" if number in channels else "no weights"
            raise ModelMismatchError(
                f"The adapter has {len(channels)} cross-attention layers and the model {len(attentions)}, which do not "
                f"line up: for {' '.join(map(str, attention.address))}, {attention.channels} wide, it has {found}. "
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
            for child in module.modules() if module is not None else ():
                if hasattr(child, "transformer_blocks"):
                    yield (name, number), child


def _places(attentions: Sequence[CrossAttention]) -> dict[CrossAttention, Place]:
    """Part, level by width, number of the transformer in that level, position in the transformer."""
    levels = sorted({attention.channels for attention in attentions})
    transformers: dict[tuple[str, int], list[int]] = {}
    for attention in attentions:
        seen = transformers.setdefault((attention.block[0], attention.channels), [])
        if attention.layer not in seen:
            seen.append(attention.layer)
    return {
        a: (a.block[0], levels.index(a.channels), transformers[a.block[0], a.channels].index(a.layer), a.position)
        for a in attentions
    }


def _full_unet(*levels: tuple[str, int, int, int]) -> tuple[Place, ...]:
    return tuple(
        (part, level, transformer, position)
        for part, level, count, depth in levels
        for transformer in range(count)
        for position in range(depth)
    )


# Part, level, transformers, depth; in checkpoint order.
_SD15 = _full_unet(
    ("input", 0, 2, 1), ("input", 1, 2, 1), ("input", 2, 2, 1),
    ("output", 2, 3, 1), ("output", 1, 3, 1), ("output", 0, 3, 1), ("middle", 2, 1, 1),
)  # fmt: skip
_SDXL = _full_unet(
    ("input", 0, 2, 2), ("input", 1, 2, 10), ("output", 1, 3, 10), ("output", 0, 3, 2), ("middle", 1, 1, 10)
)
FULL_UNETS = {len(places): places for places in (_SD15, _SDXL)}  # by the number of cross-attentions

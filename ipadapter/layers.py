"""The cross-attention layers of a UNet, and which adapter weights belong to each.

Two orders exist and are kept apart by name. *Execution order* is input, middle, output blocks; a layer is a spatial
transformer's running number in it. *Checkpoint order* is input, output, middle: the n-th cross-attention in it owns
the keys numbered 2n + 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from .errors import ModelMismatchError

Block = tuple[str, int]  # ComfyUI's address of a UNet block: ("input", 8), ("middle", 0), ("output", 1)
Address = tuple[str, int, int]  # block, number, position inside the block's transformer


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


def find_cross_attentions(unet: nn.Module) -> tuple[CrossAttention, ...]:
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
        for position, inner in enumerate(blocks):  # type: ignore[arg-type]
            attention = getattr(inner, "attn2", None)
            if attention is None:
                continue
            heads = attention.heads
            channels = heads * attention.dim_head
            found.append(
                CrossAttention(layer, block, position, len(blocks), heads, channels, attention.to_k.in_features)
            )  # type: ignore[arg-type]
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


def match_keys(attentions: Sequence[CrossAttention], key_numbers: Sequence[int]) -> tuple[int, ...]:
    """The checkpoint's key number for every cross-attention, in the order given.

    A UNet with as many cross-attentions as the adapter is matched in checkpoint order. A pruned one (SSD-1B, Vega,
    KOALA) is matched by address against the full UNet the adapter was trained for. Raises ModelMismatchError where
    neither works.
    """
    if len(attentions) == len(key_numbers):
        by_address = dict(zip(_checkpoint_order(attentions), sorted(key_numbers), strict=True))
    else:
        full = FULL_UNETS.get(len(key_numbers))
        by_address = {address: 2 * number + 1 for number, address in enumerate(full)} if full else {}
    missing = [attention.address for attention in attentions if by_address.get(attention.address) not in key_numbers]
    if missing:
        raise ModelMismatchError(
            f"The adapter has weights for {len(key_numbers)} cross-attention layers and the model has "
            f"{len(attentions)}, "
            f"which do not line up (no weights for {missing[0]}). Use an adapter made for this model: 16 layers fit "
            "SD1.5, 70 fit SDXL."
        )
    return tuple(by_address[attention.address] for attention in attentions)


def _transformers(unet: nn.Module) -> Iterator[tuple[Block, nn.Module]]:
    groups = [
        ("input", list(unet.input_blocks)),
        ("middle", [getattr(unet, "middle_block", None)]),
        ("output", list(unet.output_blocks)),
    ]  # type: ignore[arg-type]
    for name, modules in groups:
        for number, module in enumerate(modules):
            for child in module.modules() if module is not None else ():
                if hasattr(child, "transformer_blocks"):
                    yield (name, number), child


def _checkpoint_order(attentions: Sequence[CrossAttention]) -> list[Address]:
    rank = {"input": 0, "output": 1, "middle": 2}
    return [
        attention.address for attention in sorted(attentions, key=lambda a: rank[a.block[0]])
    ]  # stable: keeps execution order within


def _full_unet(*runs: tuple[str, Sequence[int], int]) -> tuple[Address, ...]:
    return tuple(
        (name, number, position) for name, numbers, depth in runs for number in numbers for position in range(depth)
    )


_SD15 = _full_unet(("input", (1, 2, 4, 5, 7, 8), 1), ("output", range(3, 12), 1), ("middle", (0,), 1))
_SDXL = _full_unet(
    ("input", (4, 5), 2),
    ("input", (7, 8), 10),
    ("output", (0, 1, 2), 10),
    ("output", (3, 4, 5), 2),
    ("middle", (0,), 10),
)
FULL_UNETS = {
    len(addresses): addresses for addresses in (_SD15, _SDXL)
}  # cross-attentions -> addresses in checkpoint order

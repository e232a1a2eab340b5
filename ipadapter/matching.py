"""Match the key numbers of a checkpoint to the sites of a model.

The cross-attentions of a UNet have two orders. *Execution order* is input, middle, output blocks. *Checkpoint order* is
input, output, middle blocks: its n-th cross-attention, from 0, has the key number 2n + 1.
"""

from collections.abc import Iterable, Mapping, Sequence

from .errors import ModelMismatchError
from .families import Place, full_places
from .sites import KeyNumber, Site


def match_blocks(sites: Sequence[Site], channels: Mapping[KeyNumber, int]) -> tuple[KeyNumber, ...]:
    """The key number for every block of a transformer, whose checkpoints count in execution order.

    `channels` is the width of each key number's weights. ModelMismatchError if the number or width of blocks differs,
    as in pruned models.
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
    """Sites in checkpoint order: input, output, middle blocks."""
    rank = {"input": 0, "output": 1, "middle": 2}
    return sorted(sites, key=lambda site: rank[site.block[0]])  # stable: execution order within


def match_keys(sites: Sequence[Site], channels: Mapping[KeyNumber, int]) -> tuple[KeyNumber, ...]:
    """The key number for every cross-attention of a UNet; `channels` is the width of each key number's weights.

    A UNet with as many cross-attentions as the adapter is matched in checkpoint order. A pruned UNet (SSD-1B, Vega,
    KOALA) has the first cross-attentions of every level, and is matched by level with the full UNet that the adapter
    was made for. Raises ModelMismatchError if neither match is possible.
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


def _places(sites: Sequence[Site]) -> dict[Site, Place]:
    """For every site: part, level (by width), number of the transformer in the level, position in the transformer."""
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

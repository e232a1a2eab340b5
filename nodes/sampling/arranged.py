"""Keys, values and masks of image prompts in the order of a call's rows, on the device of the queries.

Each tensor is computed once and stored in the model's Store. The second value of each returned pair is True if the
store holds the tensor for the next step, False if the store is full.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...ipadapter.attention import Pair
from ...ipadapter.image_prompt import ImagePrompt, Rows, arrange, branch_factors, images_of_rows
from ...ipadapter.sites import Site
from ...masks.grid import mask_around, mask_on_grid
from .call import Call
from .store import Store

Grid = tuple[int, int]  # rows and columns of a level's tokens
Around = tuple[int, int]  # numbers of tokens in front of the grid's (text) and behind them (reference pictures)


def keys_values(
    store: Store, call: Call, prompt: ImagePrompt, site: Site, number: int, weight: float, like: Tensor
) -> tuple[Pair, bool]:
    """Keys and values of a prompt in a site, scaled by `weight`, (groups, heads, tokens, channels / heads) each."""
    rows = call.rows

    def arranged() -> Pair:
        pair = prompt.source.pair(number, prompt.images_of(rows))
        heads = prompt.mechanism.heads(pair.positive[0].shape[-1], site)
        k, v = arrange(prompt, pair, site.layer, rows, heads, weight)
        return k.to(like), v.to(like)

    frames = rows.indices if prompt.rows_differ else None
    key = (prompt, number, like.device, like.dtype, rows.branches, frames, weight)
    return store.get(key, arranged)


def keys_values_at(store: Store, call: Call, prompt: ImagePrompt, site: Site, number: int) -> Pair:
    """Keys and values of a timed prompt in a site, (rows, heads, tokens, channels / heads) each, without its weight.

    Those of all images are stored until sigma changes. Those of the rows are used once, so only their order is stored.
    """
    rows, layer = call.rows, site.layer
    images = store.get_at(call.moment, (prompt, number), lambda: prompt.source.pair_at(number, call.moment))
    key = ("images", prompt, layer in prompt.weights.swapped, rows, images.keys.device)
    order, _ = store.get(
        key, lambda: torch.tensor(images_of_rows(prompt, images, layer, rows), device=images.keys.device)
    )
    shape = (len(order), -1, site.heads, images.keys.shape[-1] // site.heads)
    return images.keys[order].view(shape).transpose(1, 2), images.values[order].view(shape).transpose(1, 2)


def norm_weights(store: Store, prompt: ImagePrompt, number: int, like: Tensor) -> Pair:
    """The weights of an adapter's norms of queries and keys in a site, (head width,) each, in float32."""

    def moved() -> Pair:
        norms = prompt.source.norms(number)
        assert norms is not None  # every mechanism with `joins` has norms of its own
        return norms[0].to(like.device, torch.float32), norms[1].to(like.device, torch.float32)

    return store.get(("norms", prompt, number, like.device), moved)[0]


def mask_on_tokens(
    store: Store, call: Call, prompt: ImagePrompt, layer: int, grid: Grid, around: Around, like: Tensor
) -> tuple[Tensor | None, bool]:
    """A prompt's mask on the tokens of a level, (rows or 1, tokens or 1, 1); None if it is 1 everywhere.

    In a swapped layer, the mask is 0 in the positive rows. For mechanisms whose values cannot carry a weight (`joins`),
    it is also multiplied by the weights of frames.
    """
    rows = call.rows
    factors = branch_factors(prompt, layer, rows)
    frames = prompt.weights.frames if prompt.mechanism.joins else ()
    if prompt.mask is None and factors is None and not frames:
        return None, True

    def on_tokens() -> Tensor:
        mask = mask_of_rows(prompt.mask, factors, rows, grid, frames)
        return (mask_around(mask, *around) if prompt.mask is not None else mask).to(like)

    key = ("mask", prompt, factors, rows, grid, around, like.device, like.dtype)
    return store.get(key, on_tokens)


def mask_of_rows(
    mask: Tensor | None, factors: tuple[float, ...] | None, rows: Rows, grid: Grid, frames: Sequence[float] = ()
) -> Tensor:
    """A mask (m, height, width), resized to a grid of tokens and multiplied by the factors of chunks and of frames.

    The result is (rows, rows * columns of the grid, 1): (1, ...) if all rows have the same mask, (..., 1, 1) without a
    mask.
    """
    of_frames = rows.pick_frames(torch.tensor(frames).view(-1, 1, 1)) if frames else None
    areas = rows.areas or (None,) * len(rows.branches)
    chunks = []
    for chunk, area in enumerate(areas):
        part = mask_on_grid(mask, grid, area, rows.canvas) if mask is not None else torch.ones(1, 1, 1)
        part = rows.pick_frames(part) if len(part) > 1 else part
        part = part if of_frames is None else part * of_frames
        chunks.append(part if factors is None else part * factors[chunk])
    if len(chunks[0]) == 1 and factors is None and of_frames is None and not rows.areas:
        return chunks[0]
    return torch.cat([chunk.expand(rows.frames, -1, -1) for chunk in chunks])

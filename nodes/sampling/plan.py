"""What acts in every site during one call of the model: keys, values and masks, ready for the attention.

A patch only looks up its entry. The entry is made when the first patch asks for it, because only there the type, device
and grid of the queries are known, and serves every later call with equal rows and constant weights.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ...ipadapter.attention import ImageTokens, Pair, at_weight
from ...ipadapter.image_prompt import ImagePrompt, Rows, arrange, branch_factors
from ...ipadapter.sites import Site
from ...masks.grid import mask_around, mask_on_grid
from ...weight_schedules.position import SamplingPosition
from .call import Call
from .patches import OwnPatch
from .store import Store

Grid = tuple[int, int]  # rows and columns of a level's tokens
Around = tuple[int, int]  # tokens in front of and behind those of the grid: of text, and of reference pictures
NONE_AROUND = (0, 0)


class Observer(Protocol):
    """Sees what image prompts add while a model samples."""

    def begin(self) -> None:
        """A sampling run starts."""
        ...

    def see(self, percent: float, site: Site, grid: Grid, rows: Rows, text: Tensor, image: Tensor) -> None:
        """What text and image prompts gave at one site at a percent of sampling, (rows, tokens, channels) each."""
        ...


class Scheduled(NamedTuple):
    """Keys and values of a prompt in one site at weights 0 and 1, between which a schedule's weight lies."""

    prompt: ImagePrompt
    without: Pair
    full: Pair
    mask: Tensor | None


class Entry(NamedTuple):
    """What acts in one site, and the queries that it was made for. Parts that are ready are the same in every step."""

    parts: tuple[ImageTokens | Scheduled, ...]
    ready: bool  # whether no part is scheduled
    grid: Grid
    around: Around
    device: torch.device
    dtype: torch.dtype


class Plan:
    """What acts in every site in one call. Calls with equal `key` share the entries.

    `reached` holds the numbers of the sites whose patch asked for its entry. `bypassed` holds, by number, the code of
    another pack that ran in place of a block's own attention.
    """

    def __init__(
        self,
        prompts: tuple[ImagePrompt, ...],
        call: Call,
        store: Store,
        position: SamplingPosition,
        observer: Observer | None = None,
    ) -> None:
        self.prompts, self.call, self.store, self.position, self.observer = prompts, call, store, position, observer
        self.entries: dict[tuple[int, tuple[ImagePrompt, ...]], Entry] = {}
        self.called = False  # whether any patch of ours was called
        self.reached: set[int] = set()
        self.bypassed: dict[int, Any] = {}

    def observe(self, sigma: float, site: Site, grid: Grid, text: Tensor, image: Tensor) -> None:
        """Show the observer what text and image prompts gave at a site, (rows, tokens, channels) each."""
        if self.observer is not None:
            self.observer.see(self.position.percent(sigma), site, grid, self.call.rows, text, image)

    def images(
        self, patch: OwnPatch, prompts: tuple[ImagePrompt, ...], grid: Grid, like: Tensor, around: Around = NONE_AROUND
    ) -> Sequence[ImageTokens]:
        """What some prompts of a patch add in its site, in the type and on the device of `like`.

        `grid` is the picture's rows and columns of tokens at the site, `around` the tokens in front of and behind them.
        """
        entry = self.entries.get((patch.number, prompts))
        if entry is None or entry[2:] != (grid, around, like.device, like.dtype):
            entry = self._entry(patch, prompts, grid, like, around)
        if entry.ready:
            return entry.parts  # pyright: ignore[reportReturnType]  # all of them are image tokens
        images = []
        for part in entry.parts:
            if part.__class__ is ImageTokens:  # isinstance would be a call in every layer of every step
                images.append(part)
            elif weight := self.call.weights[part.prompt][patch.site.layer]:
                images.append(ImageTokens(*at_weight(part.without, part.full, weight), part.mask))
        return images

    def _entry(
        self, patch: OwnPatch, prompts: tuple[ImagePrompt, ...], grid: Grid, like: Tensor, around: Around
    ) -> Entry:
        """The entry of a site; the plan holds it if all its tensors stay in the store."""
        self.reached.add(patch.number)
        layer, parts, stays = patch.site.layer, [], True
        for prompt in prompts:
            if layer < len(self.call.weights.get(prompt, ())) and not self._rests(prompt, layer):
                part, kept = self._part(prompt, patch.site, patch.number, grid, like, around)
                parts.append(part)
                stays = stays and kept
        ready = all(isinstance(part, ImageTokens) for part in parts)
        entry = Entry(tuple(parts), ready, grid, around, like.device, like.dtype)
        if stays:
            self.entries[patch.number, prompts] = entry
        return entry

    def _rests(self, prompt: ImagePrompt, layer: int) -> bool:
        """Whether a prompt has no weight in a layer in any call that this plan serves."""
        return prompt.weights.constant and not self.call.weights[prompt][layer]

    def _part(
        self, prompt: ImagePrompt, site: Site, number: int, grid: Grid, like: Tensor, around: Around
    ) -> tuple[ImageTokens | Scheduled, bool]:
        """The part of one prompt in an entry, and whether all its tensors stay in the store."""
        mask, mask_stays = self._mask(prompt, site.layer, grid, like, around)
        weight = self.call.weights[prompt][site.layer]
        if prompt.joined:
            (keys, values), stays = self._pair(prompt, site, number, 1.0, like)
            stays = stays and prompt.weights.constant  # the gain changes with a schedule
            return ImageTokens(keys, values, mask, weight, self._norms(prompt, number, like)), stays and mask_stays
        if prompt.weights.constant:
            (keys, values), stays = self._pair(prompt, site, number, weight, like)
            return ImageTokens(keys, values, mask), stays and mask_stays
        without, without_stays = self._pair(prompt, site, number, 0.0, like)
        full, full_stays = self._pair(prompt, site, number, 1.0, like)
        return Scheduled(prompt, without, full, mask), without_stays and full_stays and mask_stays

    def _pair(self, prompt: ImagePrompt, site: Site, number: int, weight: float, like: Tensor) -> tuple[Pair, bool]:
        """Keys and values of a site at a weight, in the order of the call's rows."""
        rows = self.call.rows

        def arranged() -> Pair:
            k, v = arrange(prompt, number, site.layer, rows, site.heads, weight, self.call.moment)
            return k.to(like), v.to(like)

        if prompt.timed:
            with torch.inference_mode(False), torch.no_grad():
                return arranged(), False
        frames = rows.indices if prompt.rows_differ else None
        key = (prompt, number, like.device, like.dtype, rows.branches, frames, weight)
        return self.store.get(key, arranged)

    def _norms(self, prompt: ImagePrompt, number: int, like: Tensor) -> Pair:
        """The weights of the adapter's norms of queries and keys in a site, on the queries' device."""
        assert prompt.norms is not None
        of_site = prompt.norms

        def moved() -> Pair:
            of_queries, of_keys = of_site(number)
            return of_queries.to(like.device), of_keys.to(like.device)

        return self.store.get(("norms", prompt, number, like.device), moved)[0]

    def _mask(
        self, prompt: ImagePrompt, layer: int, grid: Grid, like: Tensor, around: Around
    ) -> tuple[Tensor | None, bool]:
        """A prompt's mask on a level's tokens, (rows or 1, tokens or 1, 1), None for ones everywhere.

        It also holds the zeros of rows that a swapped layer leaves out and, where values cannot carry them, the
        weights of frames.
        """
        rows = self.call.rows
        factors = branch_factors(prompt, layer, rows)
        frames = prompt.weights.frames if prompt.joined else ()
        if prompt.mask is None and factors is None and not frames:
            return None, True

        def on_tokens() -> Tensor:
            mask = _mask_of_rows(prompt.mask, factors, rows, grid, frames)
            return (mask_around(mask, *around) if prompt.mask is not None else mask).to(like)

        key = ("mask", prompt, factors, rows, grid, around, like.device, like.dtype)
        return self.store.get(key, on_tokens)


def _mask_of_rows(
    mask: Tensor | None, factors: tuple[float, ...] | None, rows: Rows, grid: Grid, frames: Sequence[float]
) -> Tensor:
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

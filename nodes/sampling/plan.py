"""What acts in every site during one call of the model: keys, values and masks, ready for the attention.

A patch only looks up its entry. The entry is made when the first patch asks for it, because only there the type, device
and grid of the queries are known, and serves every later call with equal rows and constant weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...ipadapter.attention import ImageTokens, Pair, at_weight
from ...ipadapter.image_prompt import ImagePrompt, Rows
from ...ipadapter.sites import Site
from ...weight_schedules.position import SamplingPosition
from ..host_types import NoiseSchedule, Options, OtherPatch
from .arranged import Around, Grid, keys_values, mask_on_tokens, norm_weights
from .call import Call, position_of, read_call
from .patches import KEY, OwnPatch
from .store import Store

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
    layer: nn.Module | None


class Entry(NamedTuple):
    """What acts in one site, and the queries that it was made for. Parts that are ready are the same in every step."""

    parts: tuple[ImageTokens | Scheduled, ...]
    ready: bool  # whether no part is scheduled
    grid: Grid
    around: Around
    device: torch.device
    dtype: torch.dtype


@dataclass(eq=False)
class Plan:
    """What acts in every site in one call. Calls with equal `key` share the entries.

    `reached` holds the numbers of the sites whose patch asked for its entry. `bypassed` holds, by number, the code of
    another pack that ran in place of a block's own attention.
    """

    prompts: tuple[ImagePrompt, ...]
    call: Call
    store: Store
    position: SamplingPosition
    observer: Observer | None = None
    entries: dict[tuple[int, tuple[ImagePrompt, ...]], Entry] = field(default_factory=dict)
    reached: set[int] = field(default_factory=set)
    bypassed: dict[int, OtherPatch] = field(default_factory=dict)
    called: bool = False  # whether any patch of ours was called

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
        key = (patch.number, prompts)
        entry = self.entries[key] if key in self.entries else None  # no call, unlike `get`, in every layer
        if entry is None or entry[2:] != (grid, around, like.device, like.dtype):
            entry = self._entry(patch, prompts, grid, like, around)
        if entry.ready:
            return entry.parts  # pyright: ignore[reportReturnType]  # all of them are image tokens
        images = []
        for part in entry.parts:
            if type(part) is ImageTokens:  # isinstance would be a call in every layer of every step
                images.append(part)
            elif type(part) is Scheduled and (weight := self.call.weights[part.prompt][patch.site.layer]):
                pair = at_weight(part.without, part.full, weight)
                images.append(ImageTokens(*pair, part.mask, rule=part.prompt.rule, layer=part.layer))
        return images

    def _entry(
        self, patch: OwnPatch, prompts: tuple[ImagePrompt, ...], grid: Grid, like: Tensor, around: Around
    ) -> Entry:
        """The entry of a site; the plan holds it if all its tensors stay in the store."""
        self.reached.add(patch.number)
        layer, parts, stays = patch.site.layer, [], True
        for prompt in prompts:
            if layer < len(self.call.weights.get(prompt, ())) and not self._rests(prompt, layer):
                part, kept = part_of(self.store, self.call, prompt, patch, grid, like, around)
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


def part_of(
    store: Store, call: Call, prompt: ImagePrompt, patch: OwnPatch, grid: Grid, like: Tensor, around: Around
) -> tuple[ImageTokens | Scheduled, bool]:
    """The part of one prompt in the entry of a patch's site, and whether all its tensors stay in the store."""
    site, number = patch.site, patch.number
    mask, mask_stays = mask_on_tokens(store, call, prompt, site.layer, grid, around, like)
    weight = call.weights[prompt][site.layer]
    if prompt.mechanism.joins:
        (keys, values), stays = keys_values(store, call, prompt, site, number, 1.0, like)
        stays = stays and mask_stays and prompt.weights.constant  # the gain changes with a schedule
        return ImageTokens(keys, values, mask, weight, norm_weights(store, prompt, number, like)), stays
    if prompt.weights.constant:
        (keys, values), stays = keys_values(store, call, prompt, site, number, weight, like)
        tokens = ImageTokens(keys, values, mask, rule=prompt.rule, layer=prompt.source.layer(number))
        return tokens, stays and mask_stays
    without, without_stays = keys_values(store, call, prompt, site, number, 0.0, like)
    full, full_stays = keys_values(store, call, prompt, site, number, 1.0, like)
    scheduled = Scheduled(prompt, without, full, mask, prompt.source.layer(number))
    return scheduled, without_stays and full_stays and mask_stays


PLANS = 64  # entries that a run holds: of one group of rows each, that is of a context window and its conditionings


@dataclass(eq=False)
class Plans:
    """Makes the plans of a model's calls, and holds what they share while a run lasts."""

    prompts: tuple[ImagePrompt, ...]
    model_sampling: NoiseSchedule
    store: Store = field(default_factory=Store)
    earlier: dict[Any, Plan] = field(default_factory=dict)

    def make(
        self, options: Options, count: int, model_sampling: NoiseSchedule, latent: tuple[int, int] | None = None
    ) -> Plan:
        """The plan of a model call with `count` rows, from its transformer options."""
        call = read_call(options, count, self.prompts, model_sampling, latent)
        observer = options.get(KEY, {}).get("observer")
        plan = Plan(self.prompts, call, self.store, position_of(model_sampling), observer)
        earlier = self.earlier.get(key := (call.key, observer))
        if earlier is not None:
            plan.entries, plan.reached, plan.bypassed = earlier.entries, earlier.reached, earlier.bypassed
            return plan
        while len(self.earlier) >= PLANS:
            self.earlier.pop(next(iter(self.earlier)), None)
        self.earlier[key] = plan
        return plan

    def of(self, patch: OwnPatch, options: Options, count: int) -> Plan:
        """The plan that a patch acts by; made here where a caller went around `apply_model` or dropped our wrappers."""
        plan = options.get(KEY, {}).get("plan")
        if plan is not None and set(plan.prompts).issuperset(patch.prompts):
            return plan
        return self.make(options, count, self.model_sampling)

    def clear(self) -> None:
        """Drop what a run left on the device."""
        self.store.clear()
        self.earlier.clear()

"""The plan of one model call: keys, values and masks for every site, ready for the attention.

A patch only looks up the entry of its site. An entry is made in the first call of the patch, because the dtype, device
and grid of the queries are not known earlier. Later calls with equal rows share it, also those of a schedule, whose
weight is applied in every call (`Scheduled`).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...ipadapter.attention import SCALINGS, ImageTokens, Pair, at_weight, scale_values
from ...ipadapter.image_prompt import ImagePrompt, Rows
from ...ipadapter.sites import Layer, Site
from ...weight_schedules.position import SamplingPosition
from ..host_types import HostModel, NoiseSchedule, Options, OtherPatch
from .arranged import Around, Grid, keys_values, keys_values_at, mask_on_tokens, norm_weights
from .call import Call, position_of, read_call
from .patches import KEY, OwnPatch, Shared, refuse_recording
from .store import Store

NONE_AROUND = (0, 0)


class Observer(Protocol):
    """Receives, while a model samples, the output of text and of image prompts at every site, and how much attention an
    edit model's own references get.
    """

    def begin(self) -> None:
        """Called when a sampling run starts."""
        ...

    def see(self, percent: float, site: Site, grid: Grid, rows: Rows, text: Tensor, image: Tensor) -> None:
        """Called with the attention to the text and the sum of image prompts at a site, (rows, tokens, channels) each.

        `percent` is the sampling percent, 0 to 1.
        """
        ...

    def follow(self, percent: float, layer: Layer, grid: Grid, rows: Rows, shares: Tensor) -> None:
        """Called with the part of the attention that each reference gets in a layer, (rows, tokens, references)."""
        ...


class Scheduled(NamedTuple):
    """Keys and values of a prompt in one site at weight 1, whose weight a schedule changes at every step.

    The weight multiplies the attention's output, or interpolates between `without`, those at weight 0, and `full`.
    """

    prompt: ImagePrompt
    full: Pair
    without: Pair | None  # None where the scaling multiplies the values alone
    mask: Tensor | None
    layer: nn.Module | None

    def at(self, weight: float) -> ImageTokens:
        if self.without is None:
            return ImageTokens(*self.full, self.mask, weight, rule=self.prompt.rule, layer=self.layer)
        pair = at_weight(self.without, self.full, weight)
        return ImageTokens(*pair, self.mask, rule=self.prompt.rule, layer=self.layer)


class Entry(NamedTuple):
    """The image prompts of one site, and the grid, device and dtype of the queries that they were arranged for."""

    parts: tuple[ImageTokens | Scheduled, ...]
    ready: bool  # whether no part is Scheduled, so that the parts are the same in every step
    grid: Grid
    around: Around
    device: torch.device
    dtype: torch.dtype


@dataclass(eq=False)
class Plan(Shared):
    """The entries of all sites in one call. Calls with equal `key` share them.

    `reached` holds the numbers of the sites whose entry was made. `bypassed` holds, by number of the site, the patch or
    module of another pack that ran in place of a block's own attention. `model` is the copy of the model that is called
    (one per GPU), None if the caller did not go through `apply_model`.
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
    model: HostModel = None

    def begin(self) -> None:
        """Note that a patch of ours was called; the first patch of every model call does."""
        refuse_recording()
        self.called = True

    def observe(self, sigma: float, site: Site, grid: Grid, text: Tensor, image: Tensor) -> None:
        """Call the observer, if there is one, with the outputs of text and image prompts, (rows, tokens, channels)."""
        if self.observer is not None:
            self.observer.see(self.position.percent(sigma), site, grid, self.call.rows, text, image)

    def images(
        self, patch: OwnPatch, prompts: tuple[ImagePrompt, ...], grid: Grid, like: Tensor, around: Around = NONE_AROUND
    ) -> Sequence[ImageTokens]:
        """The image tokens of some of a patch's prompts, in the dtype and on the device of `like`.

        `grid` is the picture's rows and columns of tokens at the site, `around` the numbers of tokens in front of and
        behind them.
        """
        key = (patch.number, prompts)
        entry = self.entries[key] if key in self.entries else None  # `get` would be a function call in every layer
        if entry is None or entry[2:] != (grid, around, like.device, like.dtype):
            entry = self._entry(patch, prompts, grid, like, around)
        if entry.ready:
            return entry.parts  # pyright: ignore[reportReturnType]  # all of them are image tokens
        images = []
        for part in entry.parts:
            if type(part) is ImageTokens:  # isinstance would be a function call in every layer of every step
                images.append(part)
            elif type(part) is Scheduled and (weight := self.call.weights[part.prompt][patch.site.layer]):
                images.append(part.at(weight))
        return images

    def _entry(
        self, patch: OwnPatch, prompts: tuple[ImagePrompt, ...], grid: Grid, like: Tensor, around: Around
    ) -> Entry:
        """Make the entry of a site; the plan holds it if all its tensors stay in the store."""
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
        """Whether a prompt has the constant weight 0 in a layer, so that it acts in no call that shares this plan."""
        return prompt.weights.constant and not self.call.weights[prompt][layer]


def part_of(
    store: Store, call: Call, prompt: ImagePrompt, patch: OwnPatch, grid: Grid, like: Tensor, around: Around
) -> tuple[ImageTokens | Scheduled, bool]:
    """The part of one prompt in the entry of a patch's site, and whether all its tensors stay in the store."""
    site, number = patch.site, patch.number
    mask, mask_stays = mask_on_tokens(store, call, prompt, site.layer, grid, around, like)
    weight = call.weights[prompt][site.layer]
    if prompt.mechanism.joins:
        pair = keys_values_at(store, call, prompt, site, number)  # of this sigma, so the plan of a step holds none
        return ImageTokens(*pair, mask, weight, norm_weights(store, prompt, number, like)), False
    if prompt.weights.constant:
        (keys, values), stays = keys_values(store, call, prompt, site, number, weight, like)
        tokens = ImageTokens(keys, values, mask, rule=prompt.rule, layer=prompt.source.layer(number))
        return tokens, stays and mask_stays
    full, stays = keys_values(store, call, prompt, site, number, 1.0, like)
    without = None
    if SCALINGS[prompt.scaling] is not scale_values:
        without, without_stays = keys_values(store, call, prompt, site, number, 0.0, like)
        stays = stays and without_stays
    return Scheduled(prompt, full, without, mask, prompt.source.layer(number)), stays and mask_stays


PLANS = 64  # groups of rows (a context window with its conditionings) whose entries a run holds at most


@dataclass(eq=False)
class Plans:
    """Makes the plans of a model's calls, and holds the entries and tensors that they share until the run ends."""

    prompts: tuple[ImagePrompt, ...]
    model_sampling: NoiseSchedule
    store: Store = field(default_factory=Store)
    earlier: dict[Hashable, Plan] = field(default_factory=dict)

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
        """The plan of the call, or a new one where the caller went around `apply_model` or dropped our wrappers."""
        plan = options.get(KEY, {}).get("plan")
        if plan is not None and set(plan.prompts).issuperset(patch.prompts):
            return plan
        return self.make(options, count, self.model_sampling)

    def clear(self) -> None:
        """Drop all entries and tensors of a run."""
        self.store.clear()
        self.earlier.clear()

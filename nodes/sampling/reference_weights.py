"""Weigh the reference pictures that an edit model takes itself.

Before a model call, references at the end of the list with weight 0 in every layer are removed: the call then equals,
bit for bit, one without them, and is cheaper. If the others have weights other than 1, an attention override (ComfyUI's
hook around attentions) weighs their keys.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from ...ipadapter.image_prompt import POSITIVE, Rows
from ...ipadapter.sequences import heeds_references, token_counts
from ...ipadapter.weights import Weights
from ...weight_schedules.position import SamplingPosition
from ..host_types import Options
from .arranged import mask_of_rows
from .backend import OVERRIDE
from .reference_override import ReferenceOverride
from .reference_plans import Level, ReferencePlans
from .reference_watch import WatchedOverride, show_silence
from .riders import ModelCall, Rider
from .run import tiled_notes
from .store import Store

QUERIES = "attn1_patch"  # ComfyUI's hook that may change an attention's queries, keys and values
NONE_GIVEN = (
    "IPAdapter Reference Weights had no effect: no conditioning of this run brings a reference picture. Add Set "
    "Reference Latent to the conditioning, or connect the VAE to a text encoder that takes pictures."
)
NO_METHOD = (
    "IPAdapter Reference Weights had no effect: this model leaves its reference pictures out unless a method is set. "
    "Add Edit Model Reference Method to the conditioning."
)
TOO_FEW = (
    "IPAdapter Reference Weights is set for reference {wanted}, and the conditionings of this run bring {given}. The "
    "first that was added is number 1; 0 weighs all."
)
NOT_REACHED = (
    "IPAdapter Reference Weights had no effect in this run, except where a weight is 0: the model's attentions were "
    "not reached. Another pack loaded the model or replaced its attentions, or a node such as EasyCache skipped these "
    "steps. Load the model with ComfyUI's own loader, or take that node out."
)
UNKNOWN_ROWS = (
    "Another custom node calls the model with rows that cannot be told apart, so that masks and frame weights of "
    "reference pictures do not fit them. The references were left as they are in these calls. Take out the node that "
    "splits the batch, or sample one latent at a time."
)


@dataclass(frozen=True, eq=False)
class ReferenceWeight:
    """The settings of one IPAdapter Reference Weights node. `reference` is a number from 1, or 0 for all references.

    `weights` has one weight per layer, none below 0. Outside of `start_at` to `end_at`, sampling percents, the weight
    is 0. `mask` is (m, height, width) on the canvas, one per frame or one for all.
    """

    reference: int
    weights: Weights
    start_at: float = 0.0
    end_at: float = 1.0
    mask: Tensor | None = None

    @property
    def depends_on_sigma(self) -> bool:
        return not self.weights.constant or self.start_at > 0 or self.end_at < 1

    @property
    def rows_differ(self) -> bool:
        """Whether the rows of a call may have different masks or weights."""
        return bool(self.weights.frames) or (self.mask is not None and len(self.mask) > 1)


class ReferenceWeights(Rider):
    """Weighs a model's references by the product of all settings that its nodes have for them."""

    order = 0

    def __init__(self, settings: Sequence[ReferenceWeight]) -> None:
        self.settings = tuple(settings)
        self.given = self.heeded = 0  # in this run: most references in a call, and most that the model appended
        self.biased = False  # in this run, some call had an override
        self.plans = ReferencePlans()
        self.masks = Store()  # on the tokens of this run's calls, and whether each is black throughout

    def before_call(self, call: ModelCall) -> ModelCall:
        """The call without the last references of weight 0, and with an override that weighs the others."""
        references = call.conds.get("ref_latents") or ()
        network = call.model.diffusion_model
        self.given = max(self.given, len(references))
        if not references or not heeds_references(network, call.conds):
            return call
        self.heeded = max(self.heeded, len(references))
        levels = self._levels(call, len(references))
        count = heard_count(levels, call.options)
        conds = {key: value for key, value in call.conds.items() if key != "ref_latents"}
        if count:
            conds["ref_latents"] = references[:count]
        watched = call.plan.observer is not None
        if watched and not count:
            show_silence(call, len(levels[0].layers))
        if not count or (not watched and all(level.natural for level in levels[:count])):
            return replace(call, conds=conds)
        sizes = [prod(token_counts(network, reference.shape)) for reference in references[:count]]
        self.biased = self.biased or any(not level.natural for level in levels[:count])
        weigh = WatchedOverride if watched else ReferenceOverride
        override = weigh(call, levels[:count], prod(token_counts(network, call.x.shape)), sizes, self.plans)
        return replace(call, conds=conds, options={**call.options, OVERRIDE: override}, overrides=True)

    def begin_run(self) -> None:
        self.given, self.heeded, self.biased = 0, 0, False
        self.cleanup()

    def end_run(self) -> Sequence[str]:
        if not self.given:
            return [NONE_GIVEN]
        if not self.heeded:
            return [NO_METHOD]
        if self.biased and not self.plans.asked:
            return [NOT_REACHED]
        wanted = max(setting.reference for setting in self.settings)
        return [TOO_FEW.format(wanted=wanted, given=self.given)] if wanted > self.given else []

    def cleanup(self) -> None:
        self.plans.clear()
        self.masks.clear()

    def _levels(self, call: ModelCall, count: int) -> list[Level]:
        """The level of every reference of a call: its weight in every layer, and its mask."""
        sigma = None
        if "sigmas" in call.options and any(setting.depends_on_sigma for setting in self.settings):
            sigma = float(call.options["sigmas"][0])
        now = {setting: weights_at(setting, call.plan.position, sigma) for setting in self.settings}
        if any(setting.mask is not None for setting in self.settings):
            call.say(tiled_notes(call.options, call.plan.call))
        rows = call.plan.call.rows
        if not (rows.branches and rows.placed) and any(setting.rows_differ for setting in self.settings):
            call.say([UNKNOWN_ROWS])
            return [Level((1.0,) * len(now[self.settings[0]]))] * count
        return [level_of(call, number, now, self.masks) for number in range(1, count + 1)]


def level_of(call: ModelCall, number: int, now: Mapping[ReferenceWeight, tuple[float, ...]], masks: Store) -> Level:
    """The level of the reference with a number, from the weights of all settings in this call."""
    reaching = [setting for setting in now if setting.reference in (0, number)]
    if not reaching:
        return Level((1.0,) * len(next(iter(now.values()))))
    layers = tuple(map(prod, zip(*(now[setting] for setting in reaching), strict=True)))
    masked = tuple(setting for setting in reaching if setting.mask is not None or setting.weights.frames)
    if not masked or not any(layers):
        return Level(layers)
    mask, black, key = mask_in_call(call, masked, masks)
    return Level((0.0,) * len(layers)) if black else Level(layers, mask, key)


def mask_in_call(call: ModelCall, settings: tuple[ReferenceWeight, ...], masks: Store) -> tuple[Tensor, bool, Hashable]:
    """The product of the masks and frame weights of some settings on a call's tokens, (rows or 1, tokens or 1, 1) on
    the device, whether it is black throughout, and a key that equal masks share.
    """
    rows = call.plan.call.rows
    rows = rows if rows.branches else Rows((POSITIVE,), len(call.x))
    frames, *grid = token_counts(call.model.diffusion_model, call.x.shape)
    key = (settings, rows, *grid, frames)

    def on_tokens() -> tuple[Tensor, bool]:
        own = (mask_of_rows(one.mask, None, rows, (grid[0], grid[1]), one.weights.frames) for one in settings)
        mask = prod(own, start=torch.ones(1, 1, 1))
        mask = mask.repeat(1, frames, 1) if mask.shape[1] > 1 else mask
        return mask.to(call.x.device), not mask.any()

    (mask, black), _ = masks.get((*key, call.x.device), on_tokens)
    return mask, black, key


def weights_at(setting: ReferenceWeight, position: SamplingPosition, sigma: float | None) -> tuple[float, ...]:
    """The weight of a setting in every layer at a sigma; 0 outside of its range."""
    if sigma is None or not setting.depends_on_sigma:
        return setting.weights.at(0.0)
    if not position.active(sigma, setting.start_at, setting.end_at):
        return (0.0,) * len(setting.weights.at(0.0))
    return setting.weights.at(0.0 if setting.weights.constant else position.percent(sigma))


def heard_count(levels: Sequence[Level], options: Options) -> int:
    """How many references a call needs: all up to the last whose weight is not 0, because the position of a reference
    depends on the number of those before it.

    With ComfyUI's Flux KV Cache, a patch that holds the keys of all references from an earlier step, a call needs all
    references or none.
    """
    count = max((number for number, level in enumerate(levels, 1) if not level.silent), default=0)
    return len(levels) if count and options.get("patches", {}).get(QUERIES) else count

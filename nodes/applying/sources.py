"""The sources of a prompt's keys and values: stored when a node runs, or computed while sampling."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...ipadapter.attention import Pair
from ...ipadapter.errors import AdapterError
from ...ipadapter.image_prompt import AllImages, KeysValues, Source, pick_images
from ...ipadapter.mechanisms.joint_attention import read_by_layers
from ...ipadapter.sites import KeyNumber, SiteNumber
from ..loading.adapters import LoadedAdapter

TIMESTEPS = 1000  # an SD3 timestep is sigma times this


class SiteWeights(NamedTuple):
    """The key number of an adapter's weights for a site, and the site's number of heads, which some adapters' norms
    need.
    """

    key_number: KeyNumber
    heads: int


TokensOf = Callable[[SiteNumber], Pair]  # tokens (images, tokens, context) for positive and negative rows of a site


@dataclass(eq=False)
class Stored(Source):
    """Keys and values of every site, computed when a node runs; `own_norms` has the weights of the adapter's norms, if
    it has any.
    """

    pairs: Mapping[SiteNumber, KeysValues]
    own_norms: Mapping[SiteNumber, Pair | None]

    def __post_init__(self) -> None:
        self.images = max(len(keys) for pair in self.pairs.values() for keys, _ in pair)

    def pair(self, site: SiteNumber, images: Sequence[int] | None) -> KeysValues:
        return self.pairs[site].pick(images)

    def norms(self, site: SiteNumber) -> Pair | None:
        return self.own_norms[site]


@dataclass(eq=False)
class StoredBeside(Stored):
    """Stored keys and values of an adapter with queries of its own, whose layers are loaded for sampling."""

    adapter: LoadedAdapter
    weights: Mapping[SiteNumber, SiteWeights]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.models = (self.adapter.acting,)

    def layer(self, site: SiteNumber) -> nn.Module:
        return self.adapter.layer(self.weights[site].key_number)


@dataclass(eq=False)
class Computed(Source):
    """Keys and values for long batches, computed while sampling in each site, for the frames of the model call only."""

    adapter: LoadedAdapter
    weights: Mapping[SiteNumber, SiteWeights]
    tokens: TokensOf

    def __post_init__(self) -> None:
        self.images = max(len(tokens) for site in self.weights for tokens in self.tokens(site))
        self.models = tuple(filter(None, (self.adapter.patcher, self.adapter.acting)))

    def pair(self, site: SiteNumber, images: Sequence[int] | None) -> KeysValues:
        device = self.adapter.patcher.load_device
        chosen = (x if images is None else pick_images(x, images) for x in self.tokens(site))
        positive, negative = (self.adapter.network.keys_values(x.to(device), *self.weights[site]) for x in chosen)
        return KeysValues(positive, negative)

    def layer(self, site: SiteNumber) -> nn.Module:
        return self.adapter.layer(self.weights[site].key_number)

    def norms(self, site: SiteNumber) -> Pair | None:
        return own_norms(self.adapter, self.weights[site])


class Moment(NamedTuple):
    """Tokens of all images at a sigma, positive ones first, and the embedding of its timestep, as layers read them."""

    sigma: float
    tokens: Tensor
    time: Tensor


@dataclass(eq=False)
class Timed(Source):
    """Keys and values that depend on sigma. Only the tokens of the latest sigma are stored.

    `positive` and `negative` are the encoder's hidden states, (images, tokens, width). They are moved to the device
    once per run, because the host would wait for a copy in every step.
    """

    adapter: LoadedAdapter
    weights: Mapping[SiteNumber, SiteWeights]
    positive: Tensor
    negative: Tensor
    dtype: torch.dtype
    timed = True
    _moment: Moment | None = None
    _moved: Tensor | None = None

    def __post_init__(self) -> None:
        self.images, self.models = max(len(self.positive), len(self.negative)), (self.adapter.patcher,)

    def pair_at(self, site: SiteNumber, sigma: float | None) -> AllImages:
        if sigma is None:
            raise AdapterError(
                f"{self.adapter.name} projects its reference anew at every step, and the model was called without "
                "sigmas, which say which step this is. Sample with a ComfyUI sampler."
            )
        moment = self._at(sigma)
        pair = self.adapter.network.keys_values(moment.tokens, *self.weights[site], moment.time)
        return AllImages(*pair, len(self.positive))

    def norms(self, site: SiteNumber) -> Pair | None:
        return own_norms(self.adapter, self.weights[site])

    def forget(self) -> None:
        self._moment = self._moved = None

    def _at(self, sigma: float) -> Moment:
        moment = self._moment  # read once, because ComfyUI may sample on several devices in threads
        if moment is None or moment.sigma != sigma:
            moved = self._moved
            if moved is None:
                states = torch.cat((self.positive, self.negative))
                moved = self._moved = states.to(self.adapter.patcher.load_device, self.dtype)
            tokens, time = self.adapter.network.tokens_at(moved, sigma * TIMESTEPS)
            moment = self._moment = Moment(sigma, *read_by_layers(tokens, time))
        return moment


def own_norms(adapter: LoadedAdapter, weights: SiteWeights) -> Pair | None:
    """The weights of the adapter's norms of queries and keys in a site, (head width,) each; None without such norms."""
    return adapter.config.mechanism.norms(adapter.network.layer(weights.key_number))

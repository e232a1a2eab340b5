"""Keys and values of encoded references for every site of a model, computed when a node runs and kept by content."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...ipadapter.cache import content_key, serial
from ...ipadapter.errors import AdapterError, ModelMismatchError
from ...ipadapter.families import roles_of_blocks
from ...ipadapter.image_prompt import KeysValues, Source
from ...ipadapter.sites import Site, layer_blocks, match_blocks, match_keys
from ..loading.adapters import LoadedAdapter
from .caches import KEYS_VALUES, TOKENS
from .encoding import Embeds, Reference

# Bytes of K/V that one prompt may keep; long frame batches above it compute them while sampling, one site at a time.
BUDGET = 256 * 2**20

TIMESTEPS = 1000  # an SD3 timestep is sigma times this

Layer = tuple[int, int]  # an adapter's number for a site, and the site's heads


@dataclass(frozen=True)
class Tokens:
    """Image tokens (images, tokens, context) of the reference, of its negative, and of a composition reference where
    there is one.
    """

    positive: Tensor
    negative: Tensor
    composition: Tensor | None = None


@dataclass(frozen=True)
class PromptKeysValues:
    """Where a prompt's K/V come from, how many images it has, what must stay loaded while sampling, and the norms that
    an adapter brings for a site's own queries and keys.
    """

    source: Source
    images: int
    models: tuple[object, ...] = ()
    norms: Callable[[int], tuple[Tensor, Tensor]] | None = None
    forget: Callable[[], None] = lambda: None


def keys_values_of(
    model: ModelPatcher,
    adapter: LoadedAdapter,
    sites: Sequence[Site],
    embeds: Embeds,
    reference: Reference,
) -> PromptKeysValues:
    """K/V of a reference for every site: computed now, or prepared where they can only be computed while sampling."""
    numbers = key_numbers(adapter, sites)
    tokens = _project(model, adapter, embeds, reference)
    dtype = storage_type(model)
    roles = roles_of_blocks(layer_blocks(sites)) if tokens.composition is not None else None
    of_composition = tuple(roles.composition) if roles else ()  # the layers that look at the composition reference

    def pair_for(site: int) -> tuple[Tensor, Tensor]:
        composed = tokens.composition if sites[site].layer in of_composition else None
        positive = tokens.positive if composed is None else composed
        return positive, _repeat_to(tokens.negative, positive, reference.per_frame)

    layers = [(number, site.heads) for number, site in zip(numbers, sites, strict=True)]
    if adapter.config.timed:
        timed = TimedKeysValues(adapter, layers, *pair_for(0), dtype)
        return PromptKeysValues(timed, len(tokens.positive), (adapter.patcher,), timed.norms, timed.forget)
    if reference.per_frame and _bytes(adapter, tokens, dtype) > BUDGET:
        return PromptKeysValues(_compute_in_site(adapter, layers, pair_for), len(tokens.positive), (adapter.patcher,))
    key = (
        serial(adapter),
        content_key(tokens.positive),
        content_key(tokens.negative),
        tuple(layers),
        dtype,
        reference.per_frame,
    )
    key += () if tokens.composition is None else (content_key(tokens.composition), of_composition)
    stored = KEYS_VALUES.get_or_make(key, lambda: _compute(adapter, layers, pair_for, dtype))
    return PromptKeysValues(_stored(stored), len(tokens.positive))


def key_numbers(adapter: LoadedAdapter, sites: Sequence[Site]) -> tuple[int, ...]:
    """The adapter's number for every site; ModelMismatchError where they do not line up."""
    match = match_keys if adapter.config.mechanism == "cross-attention" else match_blocks
    return match(sites, dict(zip(adapter.config.key_numbers, adapter.config.channels, strict=True)))


def _project(model: ModelPatcher, adapter: LoadedAdapter, embeds: Embeds, reference: Reference) -> Tokens:
    """Tokens of positive, negative and composition embeds; projecting is kept by content, so that weights cost
    nothing.
    """
    shortcut = adapter.config.shortcut if reference.shortcut is None else reference.shortcut
    key: tuple = (serial(adapter), embeds.key, shortcut, reference.face_weight if shortcut else None)
    if adapter.config.token_dim != adapter.config.context_dim:  # the model's own text projection comes in between
        key += (serial(model.model), reference.kolors_weight)
    return TOKENS.get_or_make(key, lambda: _projected(model, adapter, embeds, reference))


def _projected(model: ModelPatcher, adapter: LoadedAdapter, embeds: Embeds, reference: Reference) -> Tokens:
    device = adapter.to_device().load_device
    chunk = reference.encode_batch_size or 64

    face_weight = 1.0 if reference.face_weight is None else reference.face_weight

    def project(features: Tensor | None, face: Tensor | None) -> Tensor:
        count = len(next(x for x in (features, face) if x is not None))
        parts = []
        for start in range(0, count, chunk):
            part = [None if x is None else x[start : start + chunk].to(device, torch.float32) for x in (features, face)]
            parts.append(adapter.network.project(*part, face_weight=face_weight, shortcut=reference.shortcut))
        return to_main_memory(_to_context(model, adapter, torch.cat(parts), reference.kolors_weight))

    composition = project(embeds.composition, None) if embeds.composition is not None else None
    return Tokens(project(embeds.positive, embeds.face), project(embeds.negative, embeds.face_negative), composition)


def _to_context(model: ModelPatcher, adapter: LoadedAdapter, tokens: Tensor, kolors_weight: float) -> Tensor:
    """Kolors FaceID gives tokens as wide as its text encoder's; the model's own text projection brings them to the
    UNet's width.
    """
    if adapter.config.timed or tokens.shape[-1] == adapter.config.context_dim:
        return tokens
    projection = getattr(model.get_model_object("diffusion_model"), "encoder_hid_proj", None)
    if not isinstance(projection, nn.Module):
        raise ModelMismatchError(
            f"{adapter.name} needs the text projection (encoder_hid_proj) of a Kolors model, and this model has "
            "none: load the model with Kolors nodes."
        )
    return projection(tokens.to(next(projection.parameters()))).float() * kolors_weight


def _compute(
    adapter: LoadedAdapter,
    layers: Sequence[Layer],
    pair_for: Callable[[int], tuple[Tensor, Tensor]],
    dtype: torch.dtype,
) -> list[KeysValues]:
    device = adapter.to_device().load_device
    results = []
    for site, (number, heads) in enumerate(layers):
        positive, negative = pair_for(site)
        k, v = adapter.network.keys_values(torch.cat([positive, negative]).to(device), number, heads)
        count = len(positive)
        parts = (slice(0, count), slice(count, None))
        halves = [tuple(to_main_memory(x[part].to(dtype)) for x in (k, v)) for part in parts]
        results.append(KeysValues(halves[0], halves[1]))  # type: ignore[arg-type]
    return results


@dataclass(eq=False)
class TimedKeysValues:
    """K/V that depend on the moment of sampling: tokens once per moment, K/V once per moment and site.

    `positive` and `negative` are what the encoder saw, (images, tokens, width); what was made for a moment is kept
    until the next one.
    """

    adapter: LoadedAdapter
    layers: Sequence[Layer]
    positive: Tensor
    negative: Tensor
    dtype: torch.dtype
    moment: float | None = None
    tokens: tuple[Tensor, Tensor] | None = None  # of all images, negative ones last, and the embedding of the time
    made: dict[int, KeysValues] = field(default_factory=dict)

    def __call__(self, site: int, images: Sequence[int] | None, sigma: float | None = None) -> KeysValues:
        if sigma is None:
            raise AdapterError(
                f"{self.adapter.name} looks at its reference anew at every step, and nobody said which step this is: "
                "the model was called without sigmas. Sample with a ComfyUI sampler."
            )
        if sigma != self.moment:
            self.forget()
            self.moment = sigma
        if site not in self.made:
            self.made[site] = self._made(site, sigma)
        return self.made[site] if images is None else _pick(self.made[site], images)

    def norms(self, site: int) -> tuple[Tensor, Tensor]:
        """The weights of the adapter's norms of queries and keys in a site, (head width,) each."""
        layer: Any = self.adapter.network.layer(self.layers[site][0])
        return layer["norm_q"].weight, layer["norm_k"].weight

    def forget(self) -> None:
        """Drop what was made for the latest moment."""
        self.moment, self.tokens = None, None
        self.made.clear()

    def _made(self, site: int, sigma: float) -> KeysValues:
        with torch.inference_mode(False), torch.no_grad():
            if self.tokens is None:
                device = self.adapter.patcher.load_device
                seen = torch.cat((self.positive, self.negative)).to(device, self.dtype)
                self.tokens = self.adapter.network.tokens_at(seen, sigma * TIMESTEPS)
            number, heads = self.layers[site]
            pair = self.adapter.network.keys_values(self.tokens[0], number, heads, self.tokens[1])
        count = len(self.positive)
        (k, no_k), (v, no_v) = ((x[:count], x[count:]) for x in pair)
        return KeysValues((k, v), (no_k, no_v))


def _stored(stored: Sequence[KeysValues]) -> Source:
    def source(site: int, images: Sequence[int] | None, sigma: float | None = None) -> KeysValues:
        return stored[site] if images is None else _pick(stored[site], images)

    return source


def _compute_in_site(
    adapter: LoadedAdapter, layers: Sequence[Layer], pair_for: Callable[[int], tuple[Tensor, Tensor]]
) -> Source:
    """K/V for just the frames of a model call, computed in the site that needs them."""

    def source(site: int, images: Sequence[int] | None, sigma: float | None = None) -> KeysValues:
        device = adapter.patcher.load_device
        chosen = [x if images is None else x[_clamped(images, x)] for x in pair_for(site)]
        positive, negative = (adapter.network.keys_values(x.to(device), *layers[site]) for x in chosen)
        return KeysValues(positive, negative)

    return source


def _pick(pairs: KeysValues, images: Sequence[int]) -> KeysValues:
    positive, negative = (tuple(x[_clamped(images, x)] for x in pair) for pair in (pairs.positive, pairs.negative))
    return KeysValues(positive, negative)  # type: ignore[arg-type]


def _clamped(images: Sequence[int], x: Tensor) -> list[int]:
    return [min(image, len(x) - 1) for image in images]


def _repeat_to(negative: Tensor, positive: Tensor, per_frame: bool) -> Tensor:
    """As many negative images as positive ones, so that both attend to equally many tokens; a repeated image changes
    no attention.
    """
    if per_frame:
        return negative
    return negative[[min(image, len(negative) - 1) for image in range(len(positive))]]


def _bytes(adapter: LoadedAdapter, tokens: Tokens, dtype: torch.dtype) -> int:
    images = len(tokens.positive) + len(tokens.negative)
    return 2 * images * tokens.positive.shape[1] * sum(adapter.config.channels) * dtype.itemsize


def storage_type(model: ModelPatcher) -> torch.dtype:
    """The type the UNet computes in; 8-bit and packed weights compute in another one."""
    dtype = getattr(model.model, "get_dtype_inference", model.model.get_dtype)()
    dtype = getattr(model.model, "manual_cast_dtype", None) or dtype
    return dtype if dtype in (torch.float16, torch.bfloat16, torch.float32) else torch.float16


def to_main_memory(x: Tensor) -> Tensor:
    """A copy in main memory that is no inference tensor, so that samplers which need gradients work too."""
    with torch.inference_mode(False):
        return x.detach().clone().cpu()

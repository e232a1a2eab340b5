"""Keys and values of encoded references for every site of a model, computed when a node runs and cached by content."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...ipadapter.attention import Pair
from ...ipadapter.cache import content_key, serial
from ...ipadapter.errors import ModelMismatchError
from ...ipadapter.families import roles_of_blocks
from ...ipadapter.image_prompt import KeysValues, Source, pick_images
from ...ipadapter.sites import Site, SiteNumber, layer_blocks
from ..loading.adapters import LoadedAdapter
from ..notices import say_notes
from .caches import KEYS_VALUES, TOKENS
from .encoding import Embeds, Reference
from .sources import Computed, SiteWeights, Stored, StoredBeside, Timed, TokensOf, own_norms

# Bytes of keys and values that one prompt may store; larger batches of frames compute them while sampling, per site.
BUDGET = 256 * 2**20


@dataclass(frozen=True)
class Tokens:
    """Image tokens (images, tokens, context) of a reference, of its negative, and of its composition picture."""

    positive: Tensor
    negative: Tensor
    composition: Tensor | None = None


def source_of(
    model: ModelPatcher,
    adapter: LoadedAdapter,
    sites: Sequence[Site],
    embeds: Embeds,
    reference: Reference,
) -> Source:
    """The source of a reference's keys and values: computed for every site now, or a source that computes them while
    sampling.
    """
    weights = site_weights(adapter, sites)  # first: it refuses models that the adapter was not made for
    tokens = tokens_of_embeds(model, adapter, embeds, reference)
    return source_of_tokens(model, adapter, sites, weights, tokens, reference.per_frame)


def source_of_tokens(
    model: ModelPatcher,
    adapter: LoadedAdapter,
    sites: Sequence[Site],
    weights: Mapping[SiteNumber, SiteWeights],
    tokens: Tokens,
    per_frame: bool,
) -> Source:
    """Like `source_of`, but from image tokens."""
    dtype = storage_type(model)
    roles = roles_of_blocks(layer_blocks(sites)) if tokens.composition is not None else None
    of_composition = tuple(roles.composition) if roles else ()  # layers that attend to the composition picture

    def tokens_of(site: SiteNumber) -> Pair:
        composed = tokens.composition if sites[site].layer in of_composition else None
        positive = tokens.positive if composed is None else composed
        if per_frame:
            return positive, tokens.negative
        return as_many(positive, tokens.negative, adapter.config.mechanism.joins)

    if adapter.config.timed:
        return Timed(adapter, weights, *tokens_of(0), dtype)
    if per_frame and _bytes(adapter, tokens, dtype) > BUDGET:
        return Computed(adapter, weights, tokens_of)
    key = (
        serial(adapter),
        content_key(tokens.positive),
        content_key(tokens.negative),
        tuple(weights.items()),
        dtype,
        per_frame,
    )
    key += () if tokens.composition is None else (content_key(tokens.composition), of_composition)
    stored = KEYS_VALUES.get_or_make(key, lambda: _compute(adapter, weights, tokens_of, dtype))
    norms = {site: own_norms(adapter, of_site) for site, of_site in weights.items()}
    if adapter.acting is not None:
        return StoredBeside(stored, norms, adapter, weights)
    return Stored(stored, norms)


def site_weights(adapter: LoadedAdapter, sites: Sequence[Site]) -> dict[SiteNumber, SiteWeights]:
    """The adapter's weights for every site in which it acts; ModelMismatchError if adapter and model do not fit."""
    numbers = adapter.config.mechanism.match(sites, adapter.config)
    return {i: SiteWeights(number, sites[i].heads) for i, number in enumerate(numbers) if number is not None}


def tokens_of_embeds(model: ModelPatcher, adapter: LoadedAdapter, embeds: Embeds, reference: Reference) -> Tokens:
    """Tokens of positive, negative and composition embeds, cached by content, so that a changed weight needs no new
    projection.
    """
    shortcut = adapter.config.shortcut if reference.shortcut is None else reference.shortcut
    key: tuple = (serial(adapter), embeds.key, shortcut, reference.face_weight if shortcut else None)
    if adapter.config.token_dim != adapter.config.context_dim:  # the model's own text projection must be applied
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
    """Tokens of Kolors FaceID, which are as wide as the text encoder's output, after the model's own text projection:
    in the UNet's text width.
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
    adapter: LoadedAdapter, weights: Mapping[SiteNumber, SiteWeights], tokens_of: TokensOf, dtype: torch.dtype
) -> dict[SiteNumber, KeysValues]:
    device = adapter.to_device().load_device
    results = {}
    for site, (key_number, heads) in weights.items():
        positive, negative = tokens_of(site)
        pair = adapter.network.keys_values(torch.cat([positive, negative]).to(device), key_number, heads)
        (k, no_k), (v, no_v) = (x.to(dtype).tensor_split([len(positive)]) for x in pair)
        k, v, no_k, no_v = map(to_main_memory, (k, v, no_k, no_v))
        results[site] = KeysValues((k, v), (no_k, no_v))
    return results


def as_many(positive: Tensor, negative: Tensor, joins: bool) -> Pair:
    """Positive and negative tokens with an equal number of images, because ComfyUI samples both in one call.

    If there are fewer negative images, the last is repeated. If there are more, each side is repeated as a whole, which
    does not change an attention to image tokens alone; in an attention shared with the picture's own tokens (`joins`),
    it would, so the additional negative images are left out.
    """
    if joins and len(negative) > len(positive):
        say_notes(
            [
                f"This adapter follows as many negative pictures as positive ones, the first {len(positive)} of "
                f"{len(negative)}."
            ]
        )
    if joins or len(negative) <= len(positive):
        return positive, pick_images(negative, range(len(positive)))
    count = math.lcm(len(positive), len(negative))
    return positive.repeat(count // len(positive), 1, 1), negative.repeat(count // len(negative), 1, 1)


def _bytes(adapter: LoadedAdapter, tokens: Tokens, dtype: torch.dtype) -> int:
    images = len(tokens.positive) + len(tokens.negative)
    return 2 * images * tokens.positive.shape[1] * sum(adapter.config.channels) * dtype.itemsize


def storage_type(model: ModelPatcher) -> torch.dtype:
    """The dtype that the model computes in, which differs from that of 8-bit and packed weights."""
    dtype = getattr(model.model, "get_dtype_inference", model.model.get_dtype)()
    dtype = getattr(model.model, "manual_cast_dtype", None) or dtype
    return dtype if dtype in (torch.float16, torch.bfloat16, torch.float32) else torch.float16


def to_main_memory(x: Tensor) -> Tensor:
    """A copy in main memory that is not an inference tensor, because samplers with gradients cannot use those."""
    with torch.inference_mode(False):
        return x.detach().clone().cpu()

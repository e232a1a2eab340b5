"""From a request to a patched model: encode, project, compute keys and values, compute weights, attach.

Every apply node calls `apply_adapter`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.attention import SCALINGS
from ...ipadapter.checks import LARGEST_WEIGHT, check_mask, check_weight, check_weights
from ...ipadapter.errors import AdapterError, ModelMismatchError
from ...ipadapter.families import FAMILIES, OTHER_UNETS, Block, title_of
from ...ipadapter.image_prompt import ImagePrompt, Source
from ...ipadapter.pulid_rules import Rule
from ...ipadapter.sites import Site, layer_blocks, structure_of_blocks
from ...ipadapter.weights import Weights
from ...weight_schedules.layer_text import parse_layer_text
from ...weight_schedules.layers import LayerWeights, rule_of, weigh_layers
from ...weight_schedules.schedule import Schedule, multiplied, of_layers
from ..host_types import FaceAnalysis, HostEncoder, Socket
from ..loading.adapters import LoadedAdapter, open_pipeline
from ..notices import say_notes
from ..sampling.attach import attach, sites_of
from .encoding import Embeds, Reference, encode_reference
from .keys_values import source_of


@dataclass(frozen=True)
class Strength:
    """How strongly a reference acts: in which layers, when while sampling, in which part of the picture."""

    weight: float | Sequence[float] = 1.0  # a list has one weight per frame
    weight_type: str = "linear"
    weight_composition: float | None = None
    boost: float | None = None
    layer_weights: str = ""
    schedule: Schedule | None = None
    start_at: float = 0.0
    end_at: float = 1.0
    scaling: str = "V only"
    mask: Tensor | None = None

    @property
    def of_all_frames(self) -> float:
        """The single weight; 1 if frames have weights of their own."""
        return self.weight if isinstance(self.weight, int | float) else 1.0

    @property
    def of_frames(self) -> tuple[float, ...]:
        """One weight per frame; empty if all frames share a weight."""
        return () if isinstance(self.weight, int | float) else tuple(float(weight) for weight in self.weight)


@dataclass(frozen=True)
class Request:
    """One application of an adapter: the reference to follow, and its strength."""

    reference: Reference
    strength: Strength


@dataclass(frozen=True)
class Applied:
    model: ModelPatcher
    faces: Tensor | None = None  # aligned crops (n, height, width, 3) of a FaceID adapter


def apply_adapter(
    model: ModelPatcher,
    ipadapter: Socket,
    requests: Sequence[Request],
    clip_vision: HostEncoder = None,
    insightface: FaceAnalysis = None,
) -> Applied:
    """A clone of a model that follows references. All inputs are checked here, before sampling.

    Raises:
        ModelMismatchError: the adapter was made for other models.
        EncoderMismatchError: the adapter was trained with another vision encoder.
        FaceError: the adapter needs a face, and no usable face was detected.
        AdapterError: any other input that cannot be used.
    """
    pipeline = open_pipeline(ipadapter, clip_vision, insightface)
    sites = sites_for(pipeline.adapter, sites_of(model))
    prompts, faces = [], []
    for request in requests:
        strength = checked_strength(request.strength)
        reference = with_face_weight(request.reference, strength)
        embeds = encode_reference(pipeline, reference)
        prompts.append(image_prompt(model, pipeline.adapter, sites, embeds, reference, strength))
        faces += [] if embeds.faces is None else [embeds.faces]
    note_black_masks([request.strength.mask for request in requests])  # now they are checked: they may come by a link
    return Applied(attach(model, prompts), torch.cat(faces) if faces else None)


def with_face_weight(reference: Reference, strength: Strength) -> Reference:
    """The reference with a weight for FaceID Plus V2's CLIP features: if the node has none, twice the node's weight."""
    if reference.face_weight is not None:
        return reference
    return replace(reference, face_weight=2 * strength.of_all_frames)  # frame weights act in the attention


def image_prompt(
    model: ModelPatcher,
    adapter: LoadedAdapter,
    sites: Sequence[Site],
    embeds: Embeds,
    reference: Reference,
    strength: Strength,
) -> ImagePrompt:
    """The image prompt of encoded references, with weights for the layers of a model with these sites."""
    return prompt_of(
        adapter, sites, strength, lambda: source_of(model, adapter, sites, embeds, reference), reference.per_frame
    )


def prompt_of(
    adapter: LoadedAdapter,
    sites: Sequence[Site],
    strength: Strength,
    make_source: Callable[[], Source],
    per_frame: bool = False,
    rule: Rule | None = None,
) -> ImagePrompt:
    """The image prompt of a source. `make_source` is called only after the strength has been checked."""
    check_range(strength.start_at, strength.end_at)
    weights = weights_of(strength, layer_blocks(sites))
    mechanism = adapter.config.mechanism
    if strength.scaling not in mechanism.scalings:
        raise AdapterError(
            f"embeds_scaling is {strength.scaling}, and {adapter.name} joins image tokens with the picture's own, so "
            f"that only {' or '.join(mechanism.scalings)} has a meaning. Choose {' or '.join(mechanism.scalings)}."
        )
    return ImagePrompt(
        source=make_source(),
        weights=weights,
        start_at=strength.start_at,
        end_at=strength.end_at,
        scaling=strength.scaling,
        mask=checked_mask(strength.mask),
        per_frame=per_frame,
        mechanism=mechanism,
        rule=rule,
    )


def check_range(start_at: float, end_at: float, what: str = "the reference") -> None:
    """AdapterError for a range of sampling that ends before it begins, so that `what` would never act."""
    if start_at > end_at:
        raise AdapterError(f"start_at ({start_at}) lies after end_at ({end_at}), so {what} would never act. Swap them.")


def weights_of(strength: Strength, blocks: Sequence[Block]) -> Weights:
    """The weight in every layer, step and frame of a model with these layers: the node's weights times its schedule."""
    own = of_layers(layer_table(strength, blocks), strength.of_frames)
    return checked_product(own if strength.schedule is None else multiplied(own, strength.schedule.resolve(blocks)))


def checked_product(weights: Weights) -> Weights:
    """The weights, if the products of layers, schedule and frames stay within the limit; AdapterError otherwise."""
    frames = max(map(abs, weights.frames), default=1.0)
    largest = peak(weights, LARGEST_WEIGHT / max(frames, 1.0)) * frames
    check_weight(largest, "The product of weight, layers, schedule and frames")
    return weights


def peak(weights: Weights, limit: float, left: float = 0.0, right: float = 1.0) -> float:
    """The largest absolute weight of any layer between two sampling percents, or an upper bound of it up to `limit`.

    Exact for a single curve. If several curves change at once, the largest values of each within a thousandth of the
    range are multiplied, so that the product is never underestimated.
    """
    bound = max(weights.largest(left, right), default=0.0)
    if bound <= limit or right - left < 1e-3:
        return bound
    middle = (left + right) / 2
    return max(peak(weights, limit, left, middle), peak(weights, limit, middle, right))


def layer_table(strength: Strength, blocks: Sequence[Block]) -> LayerWeights:
    """One weight per layer, by layer text or else weight type. Swapped layers of the type stay swapped with a text."""
    weight = strength.of_all_frames
    if strength.layer_weights.strip():
        factors = parse_layer_text(strength.layer_weights, blocks)
        return LayerWeights(tuple(factor * weight for factor in factors), rule_of(strength.weight_type).pushed(blocks))
    composition = strength.weight_composition
    return weigh_layers(strength.weight_type, weight, blocks, composition_weight=composition, boost=strength.boost)


def sites_for(adapter: LoadedAdapter, sites: Sequence[Site]) -> tuple[Site, ...]:
    """The sites of a model that an adapter can have weights for; ModelMismatchError if the adapter was made for another
    family of models.
    """
    config, width = adapter.config, sites[0].context_dim
    fitting = tuple(site for site in sites if site.block[0] in config.mechanism.parts)
    if fitting and (config.mechanism.made_for is not None or width == config.context_dim):
        return fitting
    is_title = title_of(width, structure_of_blocks(layer_blocks(sites)))
    made_for = FAMILIES[config.family].title if config.family in FAMILIES else title_of(config.context_dim)
    unserved = is_title in OTHER_UNETS.values()
    advice = f"No adapter was published for {is_title}: use" if unserved else f"Load an adapter for {is_title}, or"
    texts = (f" (text {config.context_dim} wide)", f" ({width} wide)") if fitting else ("", "")
    raise ModelMismatchError(
        f"{adapter.name} was made for {made_for}{texts[0]}, and the model is {is_title}{texts[1]}. "
        f"{advice} a {made_for} checkpoint."
    )


def checked_mask(mask: Tensor | None) -> Tensor | None:
    """A mask as (m, height, width); None if it is white everywhere. AdapterError as of `check_mask`."""
    if mask is None:
        return None
    mask = check_mask(mask, "attn_mask")
    mask = mask.unsqueeze(0) if mask.ndim == 2 else mask
    return None if bool((mask == 1).all()) else mask.detach().cpu()


def note_black_masks(
    masks: Sequence[Tensor | None], name: str = "attn_mask", effect: str = "the reference acts nowhere",
    white: str = "where the reference should act",
) -> None:  # fmt: skip
    """Show a note if masks are black everywhere: how many, what follows, and where such a mask should be white.

    `name` is the name of the mask's input; `effect` and `white` are parts of the sentence.
    """
    black = sum(mask is not None and not mask.any() for mask in masks)
    if black:
        which = f"{name} is" if len(masks) == 1 else f"{name} of {black} of {len(masks)} references is"
        say_notes(
            [
                f"{which} black everywhere, so {effect}. Load Image gives a black mask for a picture without "
                f"transparency. Connect a mask that is white {white}, or none."
            ]
        )


def checked_strength(strength: Strength) -> Strength:
    """The strength with its choices, numbers and mask checked; AdapterError for a value that cannot be used."""
    if strength.scaling not in SCALINGS:
        raise AdapterError(f"embeds_scaling cannot be {strength.scaling!r:.80}; choose one of: {', '.join(SCALINGS)}.")
    singles = ("weight_composition", "boost", "start_at", "end_at")
    for name in singles:
        if (value := getattr(strength, name)) is not None:
            check_weight(value, name)
    return replace(strength, weight=check_weights(strength.weight))

"""From a request to a patched model: encode, project, keys and values, weights, attach. Every apply node is one call
of `apply_adapter`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.errors import AdapterError, ModelMismatchError
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.layers import Block, CrossAttention, find_cross_attentions, layer_blocks
from ...weight_schedules.layer_text import parse_layer_text
from ...weight_schedules.layers import layer_weights, swapped_layers
from ...weight_schedules.schedule import Resolved, Schedule, multiply_frames
from ..loading.adapters import LoadedAdapter, open_pipeline
from ..sampling.attach import attach
from .encoding import Embeds, Reference, encode_reference
from .keys_values import keys_values_source


@dataclass(frozen=True)
class Strength:
    """How strongly a reference acts: where in the UNet, when while sampling, where in the picture."""

    weight: float | Sequence[float] = 1.0  # a list gives one weight per frame
    weight_type: str = "linear"
    weight_composition: float | None = None
    boost: float | None = None
    layer_weights: str = ""
    schedule: Schedule | None = None
    start_at: float = 0.0
    end_at: float = 1.0
    scaling: str = "V only"
    mask: Tensor | None = None


Request = tuple[Reference, Strength]


@dataclass(frozen=True)
class Applied:
    model: ModelPatcher
    faces: Tensor | None = None  # aligned crops (n, height, width, 3) of a FaceID adapter


def apply_adapter(
    model: ModelPatcher,
    ipadapter: Any,
    requests: Sequence[Request],
    clip_vision: Any = None,
    insightface: Any = None,
) -> Applied:
    """A clone of a model that follows references; everything that can be wrong is said here, before sampling."""
    pipeline = open_pipeline(ipadapter, clip_vision, insightface)
    attentions = find_cross_attentions(model.get_model_object("diffusion_model"))
    check_model(pipeline.adapter, attentions)
    prompts, faces = [], []
    for reference, strength in requests:
        reference = with_face_strength(reference, strength)
        embeds = encode_reference(pipeline, reference)
        prompts.append(image_prompt(model, pipeline.adapter, attentions, embeds, reference, strength))
        faces += [] if embeds.faces is None else [embeds.faces]
    return Applied(attach(model, prompts), torch.cat(faces) if faces else None)


def with_face_strength(reference: Reference, strength: Strength) -> Reference:
    """Where a node has no weight for FaceID Plus V2's CLIP features, they get twice the node's weight."""
    if reference.face_strength is not None:
        return reference
    weight = strength.weight if isinstance(strength.weight, int | float) else 1.0  # frame weights act later
    return replace(reference, face_strength=2 * weight)


def image_prompt(
    model: ModelPatcher,
    adapter: LoadedAdapter,
    attentions: Sequence[CrossAttention],
    embeds: Embeds,
    reference: Reference,
    strength: Strength,
) -> ImagePrompt:
    """The image prompt of encoded references, with a weight for every layer and step."""
    if strength.start_at > strength.end_at:
        raise ValueError(
            f"start_at ({strength.start_at}) lies after end_at ({strength.end_at}), so the reference would never "
            "act. Swap them."
        )
    blocks = layer_blocks(attentions)
    table, swapped = layer_table(strength, blocks)
    resolved = strength.schedule.resolve(blocks) if strength.schedule is not None else None
    source, images, models = keys_values_source(model, adapter, attentions, embeds, reference)
    return ImagePrompt(
        keys_values=source,
        weight_at=_weight_at(table, resolved),
        constant=resolved is None or resolved.constant,
        start_at=strength.start_at,
        end_at=strength.end_at,
        scaling=strength.scaling,
        swapped=swapped | (resolved.swapped if resolved is not None else frozenset()),
        frame_weights=_frame_weights(strength.weight, resolved),
        mask=checked_mask(strength.mask),
        per_frame=reference.per_frame,
        images=images,
        models=models,
    )


def layer_table(strength: Strength, blocks: Sequence[Block]) -> tuple[tuple[float, ...], frozenset[int]]:
    """One weight per layer, and the layers whose roles are swapped, of a weight type or a layer text."""
    weight = strength.weight if isinstance(strength.weight, int | float) else 1.0
    if strength.layer_weights.strip():
        factors = parse_layer_text(strength.layer_weights, blocks)
        return tuple(factor * weight for factor in factors), swapped_layers(strength.weight_type, blocks)
    composition = weight if strength.weight_composition is None else strength.weight_composition
    weights = layer_weights(strength.weight_type, weight, blocks, composition_weight=composition, boost=strength.boost)
    return weights, swapped_layers(strength.weight_type, blocks)


def check_model(adapter: LoadedAdapter, attentions: Sequence[CrossAttention]) -> None:
    """ModelMismatchError where an adapter was made for another family than the model's."""
    width = attentions[0].context_dim
    if width != adapter.config.context_dim:
        names = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}
        made_for, found = (names.get(dim, "another family") for dim in (adapter.config.context_dim, width))
        raise ModelMismatchError(
            f"{adapter.name} was made for {made_for} (text {adapter.config.context_dim} wide), and the model is "
            f"{found} ({width} wide). "
            f"Load an adapter for {found}, or a {made_for} checkpoint."
        )


def checked_mask(mask: Tensor | None) -> Tensor | None:
    """A mask as (m, height, width), None where it changes nothing because it is white everywhere."""
    if mask is None:
        return None
    mask = mask.unsqueeze(0) if mask.ndim == 2 else mask
    if mask.ndim != 3 or mask.numel() == 0:
        raise AdapterError(f"attn_mask must be a mask of shape (masks, height, width), got {tuple(mask.shape)}.")
    if not torch.isfinite(mask).all():
        raise AdapterError(
            "attn_mask holds values that are not numbers (NaN or infinite): the node that made it went wrong."
        )
    return None if bool((mask == 1).all()) else mask.detach().float().cpu()


def _weight_at(table: tuple[float, ...], resolved: Resolved | None) -> Callable[[float], Sequence[float]]:
    if resolved is None:
        return lambda percent: table
    if resolved.constant:
        constant = tuple(weight * step for weight, step in zip(table, resolved.at(0.0), strict=True))
        return lambda percent: constant
    return lambda percent: tuple(weight * step for weight, step in zip(table, resolved.at(percent), strict=True))


def _frame_weights(weight: float | Sequence[float], resolved: Resolved | None) -> tuple[float, ...] | None:
    own = () if isinstance(weight, int | float) else tuple(float(w) for w in weight)
    if not isinstance(weight, int | float) and not own:
        raise AdapterError("weight is an empty list: it needs one number, or one per frame.")
    return multiply_frames(own, resolved.frames if resolved is not None else ()) or None

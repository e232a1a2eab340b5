"""Compatibility only: the methods that other packs and exported scripts call on our node classes, as the old nodes'.

One table says which class had which method, and how that call becomes one of the node.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from .apply import IPAdapter, IPAdapterAdvanced, IPAdapterApply, IPAdapterBatch, IPAdapterFromParams, IPAdapterMS
from .apply_base import ApplyNode, connected, strength_of
from .apply_detail import IPAdapterClipVisionEnhancer
from .apply_embeds import IPAdapterEmbeds
from .apply_style import IPAdapterStyleComposition, PreciseNode
from .apply_tiled import IPAdapterTiled
from .applying.apply import Request, apply_adapter
from .applying.encoding import Reference
from .embeds import IPAdapterCombineEmbeds, IPAdapterEncoder, IPAdapterLoadEmbeds, IPAdapterSaveEmbeds
from .face import FaceNode, IPAdapterApplyFaceID
from .face_crop import PrepImageForInsightFace
from .face_loader import IPAdapterInsightFaceLoader
from .guard import checked
from .legacy import InsightFaceLoader, IPAdapterApplyEncoded, IPAdapterBatchEmbeds, IPAdapterTilesMasked
from .loaders import IPAdapterModelLoader
from .old.names import FIRST_TYPES
from .params import IPAdapterCombineParams, IPAdapterRegionalConditioning, regions_of
from .pictures import IPAdapterNoise, PrepImageForClipVision
from .unified import PresetLoader
from .weights import (
    IPAdapterCombineWeights,
    IPAdapterPromptScheduleFromWeightsStrategy,
    IPAdapterWeights,
    IPAdapterWeightsFromStrategy,
)

SOCKETS = ("clip_vision", "insightface")  # beside the model and the adapter
Call = Callable[..., tuple[Any, ...]]


def outputs(node: type[io.ComfyNode], *values: Any, **inputs: Any) -> tuple[Any, ...]:
    """What the node gives, (None,) where it has no output; values without a keyword are in the order of its inputs."""
    return node.execute(**named(node, values, inputs)).args or (None,)


def outputs_of_known_type(node: type[io.ComfyNode], *values: Any, **inputs: Any) -> tuple[Any, ...]:
    """As `outputs`, for nodes of March 2024 and later that have a weight type."""
    return node.execute(**with_known_type(named(node, values, inputs))).args


def applied(node: type[ApplyNode], *values: Any, **inputs: Any) -> tuple[Any, ...]:
    """The model, and the aligned faces if there are any."""
    made = node.apply(**checked(node, with_known_type(named(node, values, inputs, *SOCKETS))))
    return made.model, made.faces


def applied_by_any(node: type[ApplyNode], *values: Any, **inputs: Any) -> tuple[Any, ...]:
    """As `applied`, for the nodes that one method served: packs hand its whole list of keywords to any of them."""
    known = (*SOCKETS, *signature(request_of_any).parameters)
    call = checked(node, with_known_type(connected(named(node, values, inputs, *known))))
    model, ipadapter = call.pop("model"), call.pop("ipadapter")
    sockets = {name: call.pop(name, None) for name in SOCKETS}
    made = apply_adapter(model, ipadapter, requests_of(node, call), **sockets)
    return made.model, made.faces


def load_models(
    node: type[PresetLoader],
    model: ModelPatcher,
    preset: str,
    lora_strength: float = 0.0,
    provider: str = "CPU",
    ipadapter: Any = None,
) -> tuple[Any, ...]:
    """The model and the pipeline of a preset; one method served all unified loaders."""
    return node.execute(model, preset, ipadapter, lora_strength=lora_strength, provider=provider).args


def requests_of(node: type[ApplyNode], call: Mapping[str, Any]) -> list[Request]:
    """The node's own requests, or those of the one method where a call uses what only other nodes have."""
    if call.keys() <= set(names_of(node)):
        return node.requests(**call)
    shared = {name: value for name, value in call.items() if name != "ipadapter_params"}
    regions = regions_of(call["ipadapter_params"]) if "ipadapter_params" in call else [{}]
    return [request_of_any(**shared | region, per_frame=node.per_frame) for region in regions]


def request_of_any(
    *,
    image: Tensor | None = None,
    image_style: Tensor | None = None,
    image_composition: Tensor | None = None,
    image_negative: Tensor | None = None,
    attn_mask: Tensor | None = None,
    ipadapter_params: Any = None,
    weight: Any = 1.0,
    weight_type: str = "linear",
    weight_style: float = 1.0,
    weight_composition: float = 1.0,
    expand_style: bool = False,
    start_at: float = 0.0,
    end_at: float = 1.0,
    combine_embeds: str = "concat",
    embeds_scaling: str = "V only",
    weight_faceidv2: float | None = None,
    weight_kolors: float = 1.0,
    layer_weights: str = "",
    style_boost: float | None = None,
    composition_boost: float | None = None,
    encode_batch_size: int = 0,
    enhance_tiles: int = 1,
    enhance_ratio: float = 1.0,
    per_frame: bool = False,
) -> Request:
    """What a call of the one method asks for: pictures of style and composition, or a boost, decide the weight type."""
    weight_of_composition = None
    if image_style is not None:
        image, weight, weight_of_composition = image_style, weight_style, weight_composition
        weight_type = "strong style and composition" if expand_style else "style and composition"
    if style_boost is not None:
        weight_type = "style transfer precise"
    if composition_boost is not None:
        weight_type = "composition precise"
    reference = Reference(
        image,
        image_composition,
        image_negative,
        combine=combine_embeds,
        per_frame=per_frame,
        encode_batch_size=encode_batch_size,
        tiles=enhance_tiles,
        tile_ratio=enhance_ratio,
        face_weight=weight_faceidv2,
        kolors_weight=weight_kolors,
    )
    acts = strength_of(weight, weight_type, start_at, end_at, embeds_scaling, attn_mask)
    boost = style_boost if style_boost is not None else composition_boost
    where = {"weight_composition": weight_of_composition, "boost": boost, "layer_weights": layer_weights}
    return Request(reference, replace(acts, **where))


def with_known_type(call: Mapping[str, Any]) -> dict[str, Any]:
    """The first weight types meant `linear` to the nodes of March 2024 and later, and packs still hand them over."""
    first = call.get("weight_type") in FIRST_TYPES
    return dict(call) | ({"weight_type": "linear"} if first else {})


def names_of(node: type[io.ComfyNode]) -> list[str]:
    return [item.id for item in node.GET_SCHEMA().inputs]


def named(node: type[io.ComfyNode], values: Sequence[Any], inputs: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """All values of a call by name; those without a keyword are in the order of the node's inputs.

    Raises TypeError for names that neither the node has nor `more`.
    """
    names = names_of(node)
    if unknown := inputs.keys() - {*names, *more}:
        raise TypeError(f"{node.GET_SCHEMA().node_id} has no input {', '.join(sorted(unknown))}.")
    if len(values) > len(names) or inputs.keys() & set(names[: len(values)]):
        raise TypeError(f"{node.GET_SCHEMA().node_id} was called with too many values; its inputs: {', '.join(names)}.")
    return dict(zip(names, values, strict=False)) | dict(inputs)


METHODS: list[tuple[str, Call, tuple[type[io.ComfyNode], ...]]] = [
    ("apply_ipadapter", applied_by_any, (
        IPAdapterAdvanced, IPAdapterBatch, IPAdapterMS, IPAdapterFromParams, IPAdapterStyleComposition, PreciseNode,
        IPAdapterClipVisionEnhancer, FaceNode,
    )),
    ("apply_ipadapter", applied, (IPAdapter, IPAdapterEmbeds)),
    ("apply_ipadapter", outputs, (IPAdapterApply, IPAdapterApplyFaceID, IPAdapterApplyEncoded)),
    ("apply_tiled", outputs_of_known_type, (IPAdapterTiled,)),
    ("apply_tiled", outputs, (IPAdapterTilesMasked,)),
    ("load_models", load_models, (PresetLoader,)),
    ("load_ipadapter_model", outputs, (IPAdapterModelLoader,)),
    ("load_insightface", outputs, (IPAdapterInsightFaceLoader,)),
    ("load_insight_face", outputs, (InsightFaceLoader,)),
    ("encode", outputs, (IPAdapterEncoder,)),
    ("batch", outputs, (IPAdapterCombineEmbeds, IPAdapterBatchEmbeds)),
    ("save", outputs, (IPAdapterSaveEmbeds,)),
    ("load", outputs, (IPAdapterLoadEmbeds,)),
    ("make_noise", outputs, (IPAdapterNoise,)),
    ("prep_image", outputs, (PrepImageForClipVision, PrepImageForInsightFace)),
    ("weights", outputs, (IPAdapterWeights, IPAdapterWeightsFromStrategy)),
    ("prompt_schedule", outputs, (IPAdapterPromptScheduleFromWeightsStrategy,)),
    ("combine", outputs, (IPAdapterCombineWeights, IPAdapterCombineParams)),
    ("conditioning", outputs_of_known_type, (IPAdapterRegionalConditioning,)),
]  # fmt: skip


def install_old_methods() -> None:
    """Give every class, and what derives from it, the method that it had."""
    for name, call, nodes in METHODS:
        for node in nodes:
            setattr(node, name, _method(call))


def _method(call: Call) -> Call:
    def method(self: io.ComfyNode, *values: Any, **inputs: Any) -> tuple[Any, ...]:
        return call(type(self), *values, **inputs)

    return method

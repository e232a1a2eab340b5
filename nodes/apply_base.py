"""What all apply nodes share: a node lists its inputs, and their names say what each one asks for."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from . import inputs
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference

# Input of a node -> what it asks for. The same name means the same on every node.
REFERENCE = {
    "image": "images",
    "image_style": "images",
    "image_composition": "composition",
    "image_negative": "negative",
    "pos_embed": "embeds",
    "neg_embed": "negative_embeds",
    "combine_embeds": "combine",
    "unfold_batch": "per_frame",
    "encode_batch_size": "encode_batch_size",
    "noise": "noise",
    "enhance_tiles": "tiles",
    "enhance_ratio": "tile_ratio",
    "weight_faceidv2": "face_strength",
    "weight_kolors": "kolors_weight",
    "faceid_v2": "shortcut",
}
STRENGTH = {
    "weight": "weight",
    "weight_style": "weight",
    "weight_composition": "weight_composition",
    "weight_type": "weight_type",
    "style_boost": "boost",
    "composition_boost": "boost",
    "layer_weights": "layer_weights",
    "schedule": "schedule",
    "start_at": "start_at",
    "end_at": "end_at",
    "embeds_scaling": "scaling",
    "attn_mask": "mask",
}
STYLE_TYPES = {False: "style and composition", True: "strong style and composition"}  # by expand_style
PRECISE_TYPES = {"style_boost": "style transfer precise", "composition_boost": "composition precise"}
LEGACY_TYPES = {  # the weight types from before layers could be told apart -> where the weight acts
    "original": "V only",
    "linear": "K+V",
    "channel penalty": "K+mean(V) w/ C penalty",
}


def request(arguments: Mapping[str, Any]) -> Request:
    """The reference and its strength that a node's inputs ask for; inputs that are not connected (None) ask for
    nothing.

    Raises TypeError for a name that no apply node has.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    expand_style = given.pop("expand_style", False)
    if unknown := given.keys() - REFERENCE.keys() - STRENGTH.keys():
        raise TypeError(f"Apply nodes have no input {', '.join(sorted(unknown))}.")
    strength = {STRENGTH[name]: value for name, value in given.items() if name in STRENGTH}
    if "weight_type" in strength:
        strength["weight_type"] = inputs.current_name(strength["weight_type"])
    if "image_style" in given:
        strength["weight_type"] = STYLE_TYPES[expand_style]
    for name in PRECISE_TYPES.keys() & given.keys():
        strength["weight_type"] = PRECISE_TYPES[name]
    reference = {REFERENCE[name]: value for name, value in given.items() if name in REFERENCE}
    return Reference(**reference), Strength(**strength)


def with_legacy_type(arguments: dict[str, Any]) -> dict[str, Any]:
    """The layers and the scaling that a weight type of the first apply nodes stands for."""
    scaling = LEGACY_TYPES.get(arguments["weight_type"])
    return arguments if scaling is None else arguments | {"weight_type": "linear", "embeds_scaling": scaling}


STYLE_INPUTS = ("image_style", "image_composition", "weight_style", "weight_composition", "expand_style")
PARAMS_INPUTS = ("image", "attn_mask", "weight", "weight_type", "start_at", "end_at")


def asked_by(call: Mapping[str, Any]) -> dict[str, Any]:
    """What a call from another pack asks for. One method served all apply nodes of the pack that such calls were
    written for, so they hand its whole list of keywords to any node; those of a mode that is off ask for nothing.
    """
    if call.get("ipadapter_params") is not None:
        unused = (*STYLE_INPUTS, *PARAMS_INPUTS)
    elif call.get("image_style") is not None:
        unused = ("ipadapter_params", "image", "weight", "weight_type")
    else:
        unused = ("ipadapter_params", *STYLE_INPUTS)
    return {name: value for name, value in call.items() if name not in unused}


class ApplyNode(inputs.AcceptsRenamed):
    """Base of the apply nodes. A new one is a schema; `per_frame` nodes use one reference per frame of the batch."""

    per_frame: ClassVar[bool] = False

    @classmethod
    def requests(cls, **arguments: Any) -> list[Request]:
        """What the node asks for, one entry per application of the adapter."""
        reference, strength = request(arguments)
        return [(replace(reference, per_frame=cls.per_frame or reference.per_frame), strength)]

    @classmethod
    def execute(
        cls, model: ModelPatcher, ipadapter: Any, clip_vision: Any = None, insightface: Any = None, **arguments: Any
    ) -> io.NodeOutput:
        return io.NodeOutput(apply_adapter(model, ipadapter, cls.requests(**arguments), clip_vision, insightface).model)

    def apply_ipadapter(self, model: ModelPatcher, ipadapter: Any, *values: Any, **call: Any) -> tuple[Any, ...]:
        """For packs that create a node's class and call it, mostly by keyword, else in the order of its inputs: the
        model, and the aligned faces if there are any.
        """
        node = type(self)
        names = [item.id for item in node.GET_SCHEMA().inputs if item.id not in ("model", "ipadapter")]
        arguments = asked_by(dict(zip(names, values, strict=False)) | call)
        sockets = {name: arguments.pop(name, None) for name in ("clip_vision", "insightface")}
        applied = apply_adapter(model, ipadapter, node.requests(**arguments), **sockets)
        return applied.model, applied.faces

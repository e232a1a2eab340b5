"""Compatibility only: the methods that other packs and exported scripts call on our node classes.

Packs look up a class by its id, create an object and call the method that the class had in the pack of 2024:
`IPAdapterAdvanced().apply_ipadapter(model, ipadapter, image=...)`. A node inherits its method from a base class of this
file. Positional values are in the order of the node's inputs; a method returns a tuple. The docstring of a base class
names the packs that are known to call the method; exported scripts call any of them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..apply_base import AppliedOutput, ApplyNode
from ..applying.apply import Applied, Request, Strength, apply_adapter
from ..applying.encoding import Reference
from ..guard import checked
from ..loading.adapters import open_pipeline
from ..node import AtelierNode, named
from ..region_lists import regions_of
from .names import FIRST_TYPES, current_name

Outputs = tuple[Any, ...]
ModelAndFaces = tuple[Any, Tensor | None]
SOCKETS = ("clip_vision", "insightface")  # keywords of every `apply_ipadapter`, also if the node lacks the input

# Most apply nodes shared one method, and packs pass all its keywords to any of these nodes. Keyword -> field; if two
# keywords have the same field, the later one counts.
REFERENCE = {
    "image": "images", "image_style": "images", "image_composition": "composition", "image_negative": "negative",
    "combine_embeds": "combine", "encode_batch_size": "encode_batch_size", "enhance_tiles": "tiles",
    "enhance_ratio": "tile_ratio", "weight_faceidv2": "face_weight", "weight_kolors": "kolors_weight",
}  # fmt: skip
STRENGTH = {
    "weight": "weight", "weight_type": "weight_type", "start_at": "start_at", "end_at": "end_at",
    "embeds_scaling": "scaling", "attn_mask": "mask", "layer_weights": "layer_weights", "composition_boost": "boost",
    "style_boost": "boost",
}  # fmt: skip
STYLE = ("weight_style", "weight_composition", "expand_style")  # have no effect without image_style
SHARED = (*REFERENCE, *STRENGTH, *STYLE, "ipadapter_params")


class ApplyMethod(ApplyNode):
    """Called by ComfyUI-Easy-Use (with keywords of other nodes, such as `weight_kolors`) and by Inspire-Pack."""

    def apply_ipadapter(self, *values: object, **inputs: object) -> ModelAndFaces:
        schema = self.define_schema()
        call = linear_for_first_types(connected(named(schema, values, inputs, *SOCKETS, *SHARED)))
        call = with_sockets(schema, call)
        if call.keys() <= {item.id for item in schema.inputs}:
            return model_and_faces(self.execute(**call))
        shared = checked(schema, call)
        sockets = [shared.pop(name, None) for name in ("model", "ipadapter", *SOCKETS)]
        regions = regions_of(shared.pop("ipadapter_params")) if "ipadapter_params" in shared else None
        calls = [shared] if regions is None else [shared | connected(region._asdict()) for region in regions]
        requests = [shared_request(call, self.per_frame) for call in calls]
        applied = apply_adapter(sockets[0], sockets[1], requests, *sockets[2:])
        return applied.model, applied.faces


class OwnApplyMethod(ApplyNode):
    """Of IPAdapter and IPAdapterEmbeds, which had methods of their own. Called by Easy-Use and Inspire-Pack."""

    def apply_ipadapter(self, *values: object, **inputs: object) -> ModelAndFaces:
        schema = self.define_schema()
        call = linear_for_first_types(connected(named(schema, values, inputs, *SOCKETS)))
        return model_and_faces(self.execute(**with_sockets(schema, call)))


class FirstApplyMethod(ApplyNode):
    """Scripts that were exported before March 2024."""

    def apply_ipadapter(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class TiledMethod(ApplyNode):
    """Called by ComfyUI-Easy-Use."""

    def apply_tiled(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(**linear_for_first_types(named(self.define_schema(), values, inputs))))


class FirstTiledMethod(AtelierNode):
    """Scripts that were exported before March 2024."""

    def apply_tiled(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class LoadModelsMethod(AtelierNode):
    """Called by exported scripts. All unified loaders shared one method, whose parameters have an order of its own."""

    def load_models(
        self, model: object, preset: str, lora_strength: float = 0.0, provider: str = "CPU", ipadapter: object = None
    ) -> Outputs:
        given = {"lora_strength": lora_strength, "provider": provider}
        known = {item.id for item in self.define_schema().inputs}
        faces = {name: value for name, value in given.items() if name in known}
        return outputs(self.execute(model=model, preset=preset, ipadapter=ipadapter, **faces))


class LoadAdapterMethod(AtelierNode):
    """Called by Inspire-Pack."""

    def load_ipadapter_model(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class LoadInsightFaceMethod(AtelierNode):
    """Called by Inspire-Pack."""

    def load_insightface(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class FirstLoadInsightFaceMethod(AtelierNode):
    """Scripts that were exported before March 2024."""

    def load_insight_face(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class EncodeMethod(AtelierNode):
    """Called by ComfyUI-Easy-Use."""

    def encode(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class ConditioningMethod(AtelierNode):
    """Called by ComfyUI-Easy-Use."""

    def conditioning(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(**linear_for_first_types(named(self.define_schema(), values, inputs))))


class BatchMethod(AtelierNode):
    """Called by exported scripts, like all methods below."""

    def batch(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class SaveMethod(AtelierNode):
    def save(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs)) or (None,)


class LoadMethod(AtelierNode):
    def load(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class NoiseMethod(AtelierNode):
    def make_noise(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class PrepareMethod(AtelierNode):
    def prep_image(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class WeightsMethod(AtelierNode):
    def weights(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class PromptScheduleMethod(AtelierNode):
    def prompt_schedule(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


class CombineMethod(AtelierNode):
    def combine(self, *values: object, **inputs: object) -> Outputs:
        return outputs(self.execute(*values, **inputs))


def outputs(output: io.NodeOutput) -> Outputs:
    return tuple(output.args)


def model_and_faces(output: io.NodeOutput) -> ModelAndFaces:
    applied: Applied = output.applied if isinstance(output, AppliedOutput) else Applied(output.args[0])
    return applied.model, applied.faces


def connected(call: Mapping[str, object]) -> dict[str, Any]:
    """The call without values of None, which packs pass for inputs that are not connected."""
    return {name: value for name, value in call.items() if value is not None}


def linear_for_first_types(call: Mapping[str, object]) -> dict[str, Any]:
    """The call with `linear` for a weight type from before March 2024, which packs still pass to later nodes."""
    first = call.get("weight_type") in FIRST_TYPES
    return dict(call) | ({"weight_type": "linear"} if first else {})


def with_sockets(schema: io.Schema, call: dict[str, Any]) -> dict[str, Any]:
    """The call with encoder or detector joined to the adapter, as a loader does, if the node has no input for it."""
    ids = {item.id for item in schema.inputs}
    extra = {name: call[name] for name in SOCKETS if name in call and name not in ids}
    if not extra:
        return call
    pipeline = open_pipeline(call.get("ipadapter"), **extra)
    bundle = {
        "ipadapter": {"model": pipeline.adapter},
        "clipvision": {"model": pipeline.clip_vision},
        "insightface": {"model": pipeline.insightface},
    }
    return {name: value for name, value in call.items() if name not in extra} | {"ipadapter": bundle}


def shared_request(call: Mapping[str, Any], per_frame: bool) -> Request:
    """The request of the shared method: pictures of style and composition, or a boost, decide the weight type.

    Raises TypeError for a keyword that the shared method did not have.
    """
    if unknown := call.keys() - set(SHARED):
        raise TypeError(f"{', '.join(sorted(unknown))} cannot be combined with inputs of other nodes.")
    reference = {field: call[name] for name, field in REFERENCE.items() if name in call}
    strength = {field: call[name] for name, field in STRENGTH.items() if name in call}
    strength["weight_type"] = current_name(strength.get("weight_type", "linear"))
    if "image_style" in call:
        strength["weight"] = call.get("weight_style", 1.0)
        strength["weight_composition"] = call.get("weight_composition", 1.0)
        whole = call.get("expand_style", False)
        strength["weight_type"] = "strong style and composition" if whole else "style and composition"
    if "style_boost" in call:
        strength["weight_type"] = "style transfer precise"
    if "composition_boost" in call:
        strength["weight_type"] = "composition precise"
    return Request(replace(Reference(per_frame=per_frame), **reference), replace(Strength(), **strength))

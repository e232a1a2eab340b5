"""Type aliases for values of ComfyUI that have no common class."""

from collections.abc import Mapping
from typing import Any

Options = Mapping[str, Any]  # `transformer_options`, `model_options` or the arguments of a block, for reading only
OwnOptions = dict[str, Any]  # a copy of such options, which we may change
HostModel = Any  # BaseModel or its diffusion model, whose classes and attributes differ from model to model
HostModule = Any  # a module of a diffusion model
NoiseSchedule = Any  # a model's `model_sampling`: ComfyUI composes its class of two
Executor = Any  # comfy.patcher_extension.WrapperExecutor, which a wrapper calls for the wrapped function
OtherPatch = Any  # the patch of another pack: any callable, perhaps with `to`, `models` and `cleanup`
Patches = dict[Any, OtherPatch]  # patches by ComfyUI's address of a layer or block
HostEncoder = Any  # a CLIP_VISION, of ComfyUI or of another pack
FaceAnalysis = Any  # insightface's FaceAnalysis, perhaps wrapped by another pack
Socket = Any  # the value of a socket of a custom type, from a loader of any pack
Conds = Any  # conditionings of a guider, or the arguments of a model call that are made from them

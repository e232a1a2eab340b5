"""Values of ComfyUI that have no class of their own, each by its name."""

from collections.abc import Mapping
from typing import Any

Options = Mapping[str, Any]  # `transformer_options`, `model_options` or the arguments of a block, to be read
OwnOptions = dict[str, Any]  # a copy of such options, for a call that we change
HostModel = Any  # BaseModel or its diffusion model, whose classes and attributes differ from model to model
HostModule = Any  # a module of a diffusion model
NoiseSchedule = Any  # a model's `model_sampling`: ComfyUI composes its class of two
Executor = Any  # what a wrapper calls to go on: comfy.patcher_extension.WrapperExecutor
OtherPatch = Any  # the patch of another pack: any callable, perhaps with `to`, `models` and `cleanup`
Patches = dict[Any, OtherPatch]  # patches by ComfyUI's address of a layer or block
HostEncoder = Any  # a CLIP_VISION, of ComfyUI or of another pack
FaceAnalysis = Any  # insightface's FaceAnalysis, perhaps wrapped by another pack
Socket = Any  # what arrives through a socket of a custom type, from a loader of any pack
Conds = Any  # conditionings of a guider, and what they become as arguments of a model call

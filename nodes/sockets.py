"""Python types of what sockets carry, for the parameters of `run`. The types of the sockets are in inputs.py."""

from collections.abc import Mapping, Sequence

from comfy.clip_vision import ClipVisionModel as ClipVision
from comfy.model_patcher import ModelPatcher as Model
from comfy.sd import VAE
from torch import Tensor

from .loading.adapters import LoadedAdapter

Adapter = LoadedAdapter | Mapping[str, object]  # ours, a unified loader's dict, or another pack's state dict
FaceModels = object  # insightface's FaceAnalysis, of a package that need not be installed
Weight = float | Sequence[float]  # one for all frames, or one per frame
Conditioning = list[list[object]]  # [text tokens (b, t, context), settings] per entry
Latent = Mapping[str, Tensor]
Canvas = Tensor | Latent  # whatever has a size in pixels

__all__ = ["VAE", "Adapter", "Canvas", "ClipVision", "Conditioning", "FaceModels", "Latent", "Model", "Weight"]

"""Python types of the values of sockets, for the parameters of `run`. The sockets' own types are in inputs.py."""

from collections.abc import Mapping, Sequence

from comfy.clip_vision import ClipVisionModel as ClipVision
from comfy.model_patcher import ModelPatcher as Model
from comfy.sd import VAE
from torch import Tensor

from .loading.adapters import LoadedAdapter

Adapter = LoadedAdapter | Mapping[str, object]  # ours, a unified loader's dict, or another pack's state dict
FaceModels = object  # insightface's FaceAnalysis; the package need not be installed
Weight = float | Sequence[float]  # one weight for all frames, or a list with one per frame
Conditioning = list[list[object]]  # [text tokens (b, t, context), settings] per entry
Latent = Mapping[str, Tensor]
Canvas = Tensor | Latent  # pictures, masks or latents, of which only the size in pixels is read

__all__ = ["VAE", "Adapter", "Canvas", "ClipVision", "Conditioning", "FaceModels", "Latent", "Model", "Weight"]

"""An OpenCLIP encoder as ComfyUI's CLIP_VISION: its memory management, its precision, its outputs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import folder_paths
import torch
from torch import Tensor, nn

from ...encoders.openclip import (
    OpenClipEncoder,
    build_encoder,
    open_clip_package,
    read_config,
    run_to_states,
    run_tower,
)
from ...ipadapter.checkpoint import read_file
from ...ipadapter.errors import AdapterError, CheckpointError
from .files import model_file

FOLDERS = ("clip_vision", "open_clip")
PRECISIONS: dict[str, Callable[[torch.device], torch.dtype]] = {
    "auto": lambda device: comfy.model_management.text_encoder_dtype(device),  # ComfyUI's choice for its encoders
    "fp16": lambda device: torch.float16,
    "bf16": lambda device: torch.bfloat16,
    "fp32": lambda device: torch.float32,
}
FITS: dict[str, bool | None] = {"auto": None, "crop": True, "stretch": False}


def encoder_files() -> list[str]:
    """The files of both folders, without broken links; of two files with one name, that in models/clip_vision."""
    known = [folder for folder in FOLDERS if folder in folder_paths.folder_names_and_paths]
    found = [name for folder in known for name in folder_paths.get_filename_list(folder) if model_file(folder, name)]
    return [name for name in dict.fromkeys(found) if not Path(name).name.startswith("._")]


def encoder_path(name: str) -> Path:
    """The path of a listed file of either folder."""
    for folder in filter(folder_paths.folder_names_and_paths.get, FOLDERS):
        if path := model_file(folder, name):
            return path
    raise FileNotFoundError(f"No encoder {name!r:.80} in {' or '.join(f'models/{folder}' for folder in FOLDERS)}.")


def load_openclip(path: Path, architecture: str, activation: str, precision: str, fit: str) -> "OpenClipVision":
    """The encoder of a file; AdapterError names the file and what is wrong with it."""
    try:
        encoder = build_encoder(read_encoder(path), architecture, activation, read_config(path))
    except CheckpointError:
        raise  # its message names the file already
    except AdapterError as error:
        raise AdapterError(f"{path.name}: {error}") from error
    return OpenClipVision(encoder, PRECISIONS[precision], FITS[fit])


def read_encoder(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; a training run's checkpoint has them under `state_dict`."""
    found: Any = read_file(path)[0]
    inner = found.get("state_dict", found) if isinstance(found, dict) else {}
    return {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}


class OpenClipVision:
    """An OpenCLIP encoder with the methods of ComfyUI's ClipVisionModel; `text` is None without a text tower."""

    def __init__(
        self, encoder: OpenClipEncoder, precision: Callable[[torch.device], torch.dtype], crop: bool | None = None
    ) -> None:
        self.load_device = comfy.model_management.text_encoder_device()
        self.dtype = precision(self.load_device)
        self.encoder = encoder
        self.crop = encoder.crop if crop is None else crop
        self.image_size, self.image_mean, self.image_std = encoder.image_size, list(encoder.mean), list(encoder.std)
        self.model = with_comfy_ops(encoder.visual, self.dtype)
        self.patcher = _managed(self.model, self.load_device)
        self.text = None if encoder.text is None else OpenClipText(encoder.text, self.load_device, self.dtype)

    def encode_image(self, image: Tensor, crop: bool | None = None) -> "comfy.clip_vision.Output":
        """Embeds and hidden states of pictures (n, h, w, 3); with `crop` None, the fit chosen in the loader.

        Unlike ComfyUI's, a SigLIP has its pooling head here: image_embeds are (n, width), not one vector per token.
        """
        comfy.model_management.load_model_gpu(self.patcher)
        fit = self.crop if crop is None else crop
        pixels = comfy.clip_model.clip_preprocess(
            image.to(self.load_device), self.image_size, self.image_mean, self.image_std, fit
        )
        with torch.no_grad():
            seen = run_tower(self.model, pixels.float())
        device = comfy.model_management.intermediate_device()
        output = comfy.clip_vision.Output()
        output["image_embeds"] = seen.pooled.to(device)
        output["penultimate_hidden_states"] = seen.penultimate.to(device)
        output["last_hidden_state"] = seen.last.to(device)
        output["image_sizes"] = [pixels.shape[1:]] * len(pixels)
        output["mm_projected"] = None
        return output

    def encode_states(self, pictures: Tensor, blocks: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Pooled embeds (n, d) of pictures (n, size, size, 3), and the outputs of some blocks, (n, tokens, width) each.

        The pictures are neither rounded to 8 bits nor clamped to 0..1, unlike in ComfyUI's own preprocessing.
        """
        comfy.model_management.load_model_gpu(self.patcher)
        mean, std = torch.tensor(self.image_mean), torch.tensor(self.image_std)
        pixels = ((pictures.float().cpu() - mean) / std).movedim(-1, 1)
        with torch.no_grad():
            pooled, states = run_to_states(self.model, pixels.to(self.load_device), blocks)
        return pooled.float().cpu(), tuple(state.float().cpu() for state in states)


class OpenClipText:
    """The text tower that belongs to an encoder."""

    def __init__(self, text: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.model: Any = with_comfy_ops(text, dtype)
        # The tower reads its dtype of computation from a weight, but here weights are only stored in their dtype.
        self.model.transformer.get_cast_dtype = lambda: torch.float32
        self.patcher = _managed(self.model, device)
        self.load_device = device
        self.tokens = open_clip_package().SimpleTokenizer(context_length=self.model.context_length)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embeds (n, d) of texts, in the space of the encoder's pooled embeds; neither is normalised."""
        comfy.model_management.load_model_gpu(self.patcher)
        tokens = self.tokens(list(texts)).to(self.load_device)
        with torch.no_grad():
            return self.model(tokens).to(comfy.model_management.intermediate_device())


def _managed(model: nn.Module, device: torch.device) -> comfy.model_patcher.ModelPatcher:
    offload = comfy.model_management.text_encoder_offload_device()
    return comfy.model_patcher.CoreModelPatcher(model.to(offload), load_device=device, offload_device=offload)


class Attention(nn.Module):
    """torch's MultiheadAttention with OpenCLIP's arguments, made of layers that ComfyUI can offload and cast."""

    def __init__(self, original: nn.MultiheadAttention, dtype: torch.dtype) -> None:
        super().__init__()
        width, self.heads = original.embed_dim, original.num_heads
        projection = nn.Linear(width, 3 * width, device="meta")
        projection.weight, projection.bias = original.in_proj_weight, original.in_proj_bias  # pyright: ignore
        self.in_proj, self.out_proj = _linear(projection, dtype), _linear(original.out_proj, dtype)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in self.in_proj(query).chunk(3, -1))
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask)
        return self.out_proj(out.transpose(1, 2).flatten(2)), None


def with_comfy_ops(tower: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Replace the tower's layers, in place, by ComfyUI's, stored in `dtype`, which ComfyUI can offload and cast.

    The tower computes in float32, like ComfyUI's own encoders. Its other parameters (class tokens, positions, the
    projection) are small and stay in float32.
    """
    for module in list(tower.modules()):
        for name, child in list(module.named_children()):
            if replacement := _replacement(child):
                setattr(module, name, replacement(child, dtype))
    for module in tower.modules():
        if not getattr(module, "comfy_cast_weights", False):
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, nn.Parameter(parameter.float(), requires_grad=False))
            for name, buffer in list(module.named_buffers(recurse=False)):
                setattr(module, name, buffer.float() if buffer.is_floating_point() else buffer)
    return tower


def _replacement(child: nn.Module) -> Callable[[Any, torch.dtype], nn.Module] | None:
    kind = type(child)
    if kind is nn.MultiheadAttention:
        return Attention if child.batch_first and child.in_proj_weight is not None else None
    if isinstance(child, nn.LayerNorm) and f"{kind.__module__}.{kind.__name__}" in LAYER_NORMS:
        return _layer_norm
    return {nn.Linear: _linear, nn.Conv2d: _conv, nn.Embedding: _embedding}.get(kind)


# LayerNorms over the last axis that differ only in precision; subclasses with other names may compute anything.
LAYER_NORMS = (
    "torch.nn.modules.normalization.LayerNorm", "open_clip.transformer.LayerNorm",
    "open_clip.transformer.LayerNormFp32", "timm.layers.norm.LayerNorm",
)  # fmt: skip


def _linear(old: nn.Linear, dtype: torch.dtype) -> nn.Module:
    sizes = old.in_features, old.out_features, old.bias is not None
    return _kept(comfy.ops.manual_cast.Linear(*sizes, device="meta", dtype=dtype), old, dtype)


def _conv(old: nn.Conv2d, dtype: torch.dtype) -> nn.Module:
    # torch types the sizes of a module less exactly than the arguments of its constructor.
    new = comfy.ops.manual_cast.Conv2d(
        old.in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation, old.groups,  # pyright: ignore[reportArgumentType]
        old.bias is not None, old.padding_mode, device="meta", dtype=dtype,
    )  # fmt: skip
    return _kept(new, old, dtype)


def _layer_norm(old: nn.LayerNorm, dtype: torch.dtype) -> nn.Module:
    shape = list(old.normalized_shape)
    new = comfy.ops.manual_cast.LayerNorm(shape, old.eps, old.elementwise_affine, device="meta", dtype=dtype)
    return _kept(new, old, dtype)


def _embedding(old: nn.Embedding, dtype: torch.dtype) -> nn.Module:
    new = comfy.ops.manual_cast.Embedding(old.num_embeddings, old.embedding_dim, device="meta", dtype=dtype)
    return _kept(new, old, dtype)


def _kept(new: nn.Module, old: nn.Module, dtype: torch.dtype) -> nn.Module:
    for name, parameter in old.named_parameters(recurse=False):
        setattr(new, name, nn.Parameter(parameter.to(dtype), requires_grad=False))
    return new.train(False)

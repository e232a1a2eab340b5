"""Vision encoders of OpenCLIP's architectures, built from the tensors of a file; nothing is downloaded."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..ipadapter.errors import AdapterError
from .openclip_layout import Tensors, has_text, to_openclip
from .openclip_shapes import AUTO, NO_TEXT, architecture_of, without_values

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's CLIP (arXiv:2103.00020)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
OLDEST = (3, 3)  # of open_clip: 2.24 gives hidden states (tokens, rows, width); releases in between are untested


class QuickGELU(nn.Module):
    """The activation of OpenAI's CLIP, x * sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "quick_gelu": QuickGELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
}


@dataclass(frozen=True)
class OpenClipEncoder:
    """The towers of a file, and the preprocessing of their pictures."""

    visual: nn.Module
    text: nn.Module | None  # None: the file has no text tower, or its tokeniser would have to be downloaded
    name: str
    layout: str
    activation: str
    image_size: int  # pixels: side of the square pictures
    mean: tuple[float, ...]  # colour (3) in 0..1 that normalises to 0
    std: tuple[float, ...]
    crop: bool  # True: pictures are cropped to their middle square; False: they are stretched

    def __str__(self) -> str:
        words = "with" if self.text is not None else "without"
        fit = "cropped" if self.crop else "stretched"
        return (
            f"{self.name} from a file in {self.layout}'s layout, {words} text tower: {self.image_size} x "
            f"{self.image_size} pixels, {fit}, {self.activation}"
        )


def open_clip_package() -> Any:
    """Import the package open_clip, which only these encoders need.

    Raises:
        AdapterError: the package is missing or too old; the message has the command that installs it.
    """
    try:
        import open_clip  # here, since it is slow to import and an optional package
    except ImportError as error:
        raise AdapterError(
            "Encoders of OpenCLIP need the Python package open_clip_torch, which cannot be imported "
            f"({error}). Install it where ComfyUI runs: python -m pip install open_clip_torch"
        ) from error
    version = str(open_clip.__version__)
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise AdapterError(
            f"Encoders of OpenCLIP need open_clip_torch {OLDEST[0]}.{OLDEST[1]} or newer, and {version} is installed: "
            "old ones give hidden states in another order. Where ComfyUI runs: python -m pip install -U open_clip_torch"
        )
    return open_clip


def build_encoder(
    tensors: Tensors, architecture: str = AUTO, activation: str = AUTO, config: dict[str, Any] | None = None
) -> OpenClipEncoder:
    """Build an encoder from a file's tensors, in the dtype of the file.

    The architecture comes from `config` (the contents of an open_clip_config.json), else from the name `architecture`,
    else ("auto") from the tensors' shapes. Shapes do not show the activation: "auto" takes that of the library whose
    layout the file has, so transformers' files of OpenAI's sizes get QuickGELU and its SigLIPs the tanh form of GELU.

    Raises:
        AdapterError: open_clip is missing, the architecture is unknown, or tensors are missing or have other shapes.
    """
    open_clip = open_clip_package()
    named, layout = to_openclip(tensors)
    name, model = ("open_clip_config.json", config["model_cfg"]) if config else (architecture, None)
    if model is None:
        name, model = architecture_of(open_clip, named, architecture)
    text_config = model["text_cfg"] if has_text(named) and _has_tokeniser(model["text_cfg"]) else None
    model = {**model, "text_cfg": text_config or NO_TEXT}
    visual, text = _towers(open_clip, model, named, text_config is not None)
    chosen = _activation(model, name, layout) if activation == AUTO else activation
    for tower in (visual, text):
        if chosen != "own" and tower is not None:
            _set_activation(tower, chosen)
    size = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
    return OpenClipEncoder(visual, text, name, layout, chosen, size, **_preprocessing(open_clip, name, config))


def read_config(path: Path) -> dict[str, Any] | None:
    """The open_clip configuration beside a checkpoint: <its name>.json or open_clip_config.json; None without it.

    Raises:
        AdapterError: the file is not JSON.
    """
    for file in (path.with_suffix(".json"), path.parent / "open_clip_config.json"):
        if file.is_file():
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise AdapterError(f"{file} is no JSON ({error!s:.100}). Get it again, or remove it.") from error
            if isinstance(found, dict) and isinstance(found.get("model_cfg"), dict):
                return found
    return None


def _has_tokeniser(text: dict[str, Any]) -> bool:
    """Whether a text tower uses the tokeniser inside open_clip; any other tokeniser would be downloaded."""
    return not text.get("hf_tokenizer_name") and not text.get("hf_model_name")


def _towers(open_clip: Any, model: dict[str, Any], named: Tensors, words: bool) -> tuple[Any, nn.Module | None]:
    """Both towers with their tensors; they are built without values first, which saves memory and time."""
    keywords = {key: value for key, value in model.items() if key in ("embed_dim", "vision_cfg", "text_cfg")}
    quick = bool(model.get("quick_gelu"))
    with without_values():
        clip = open_clip.CustomTextCLIP(**keywords, quick_gelu=quick)
    _fill(clip.visual, named, "visual.")
    if any(buffer.is_meta for buffer in clip.visual.buffers()):  # constants that no file has: build with values
        with torch.random.fork_rng(devices=[]):
            clip = open_clip.CustomTextCLIP(**keywords, quick_gelu=quick)
        _fill(clip.visual, named, "visual.")
    text = clip.text if words else None
    if text is not None:
        _fill(text, named, "text.")
        if text.attn_mask is not None:
            text.attn_mask = text.build_causal_mask()
    for tower in (clip.visual, text):
        if tower is not None:
            tower.train(False).requires_grad_(False)
    return clip.visual, text


def _fill(tower: nn.Module, named: Tensors, prefix: str) -> None:
    own = {name.removeprefix(prefix): tensor for name, tensor in named.items() if name.startswith(prefix)}
    expected = tower.state_dict()
    missing, unknown = sorted(expected.keys() - own.keys()), sorted(own.keys() - expected.keys())
    wrong = [name for name in own if name in expected and own[name].shape != expected[name].shape]
    if missing or unknown or wrong:
        shapes = [f"{n} is {tuple(own[n].shape)} instead of {tuple(expected[n].shape)}" for n in wrong[:2]]
        raise AdapterError(
            "The file does not hold this encoder: "
            + "; ".join(
                part
                for part in (
                    f"{len(missing)} tensors are missing, such as {prefix}{missing[0]}" if missing else "",
                    f"{len(unknown)} have no place, such as {prefix}{unknown[0]}" if unknown else "",
                    *shapes,
                )
                if part
            )
            + ". Choose another architecture, or get the whole encoder."
        )
    tower.load_state_dict(own, assign=True)


def _activation(model: dict[str, Any], name: str, layout: str) -> str:
    """The activation (a key of ACTIVATIONS) in a file's library; "own" leaves that of the architecture unchanged."""
    siglip = str(model["vision_cfg"].get("timm_pool")) == "map" and "siglip" in model["vision_cfg"]["timm_model_name"]
    if siglip:
        return "gelu_tanh" if layout == "transformers" else "gelu"
    if model["vision_cfg"].get("timm_model_name") or model["vision_cfg"].get("act_kwargs"):
        return "own"
    openai = layout == "transformers" and model["vision_cfg"].get("width") in (768, 1024)
    return "quick_gelu" if model.get("quick_gelu") or openai else "gelu"


def _set_activation(tower: nn.Module, name: str) -> None:
    for module in list(tower.modules()):
        for child_name, child in module.named_children():
            if type(child).__name__ in ("GELU", "QuickGELU"):
                setattr(module, child_name, ACTIVATIONS[name]())


def _preprocessing(open_clip: Any, name: str, config: dict[str, Any] | None) -> dict[str, Any]:
    """Mean, standard deviation, and crop or stretch: of the config, else of the first weights published for `name`."""
    if config:
        found = config.get("preprocess_cfg", {})
    else:
        tags = open_clip.list_pretrained_tags_by_model(name)
        found = open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}
    crop = found.get("resize_mode", "shortest") != "squash"
    return {"mean": tuple(found.get("mean") or CLIP_MEAN), "std": tuple(found.get("std") or CLIP_STD), "crop": crop}


@dataclass(frozen=True)
class TowerOutput:
    """Output of a vision tower for n pictures."""

    pooled: Tensor  # (n, d)
    penultimate: Tensor  # (n, tokens, width): output of the last block but one
    last: Tensor  # (n, tokens, width): output of the last block; for SigLIP after the final norm, as in ComfyUI


def run_tower(visual: Any, pixels: Tensor) -> TowerOutput:
    """Pooled embeds and hidden states of normalised pixels (n, 3, size, size).

    Feature maps of a convolutional tower are flattened row by row to tokens (n, h * w, channels).

    Raises:
        AdapterError: the tower has no list of blocks that this function knows.
    """
    hidden: list[Tensor] = []

    def record(_: nn.Module, __: Any, out: Tensor) -> None:
        hidden.append(out)

    hooks = [block.register_forward_hook(record) for block in _last_blocks(visual)]
    try:
        pooled = visual(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    tokens = [x.flatten(2).transpose(1, 2) if x.ndim == 4 else x for x in hidden]
    trunk = getattr(visual, "trunk", None)
    norm = trunk.norm if trunk is not None and getattr(trunk, "attn_pool", None) is not None else nn.Identity()
    return TowerOutput(pooled, tokens[0], norm(tokens[1]))


def run_to_states(visual: Any, pixels: Tensor, blocks: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Pooled embeds (n, d) of normalised pixels (n, 3, size, size), and the outputs of some blocks of the tower.

    `blocks` are block numbers from 0. Each output is (n, tokens, width), without the final norm.

    Raises:
        AdapterError: the tower has fewer blocks.
    """
    trunk = getattr(visual, "trunk", visual)
    tower: Sequence[nn.Module] = getattr(trunk, "blocks", ())
    if len(tower) <= max(blocks):
        raise AdapterError(
            f"Expected the EVA02-CLIP L 336 encoder, with 24 blocks, and found a {type(trunk).__name__} with "
            f"{len(tower) or 'no'} blocks: load EVA02_CLIP_L_336_psz14_s6B.pt."
        )
    states: dict[nn.Module, Tensor] = {}

    def record(block: nn.Module, _: Any, out: Tensor) -> None:
        states[block] = out

    hooks = [tower[number].register_forward_hook(record) for number in blocks]
    try:
        pooled = visual(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return pooled, tuple(states[tower[number]] for number in blocks)


def _last_blocks(visual: Any) -> list[nn.Module]:
    """The last two blocks of a tower, in order."""
    tower = getattr(visual, "trunk", visual)
    if hasattr(tower, "transformer"):
        return list(tower.transformer.resblocks[-2:])
    if hasattr(tower, "layer4"):  # ResNet
        return list(tower.layer4[-2:])
    for name in ("blocks", "stages", "layers"):
        if isinstance(found := getattr(tower, name, None), (nn.ModuleList, nn.Sequential)) and len(found) > 1:
            return [*found][-2:]
    raise AdapterError(f"{type(tower).__name__} has no blocks whose output could be the hidden states.")

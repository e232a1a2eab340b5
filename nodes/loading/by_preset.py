"""Load by preset: the adapter for the model, the encoder for the adapter, and LoRA and face models for FaceID."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import comfy.clip_vision
import comfy.utils
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.base_models import anime_base_of_file, warning
from ...ipadapter.errors import AdapterError, ModelMismatchError, NoAdapterError
from ...ipadapter.families import Block, Family, family_of_model
from ...ipadapter.presets import Preset
from ...ipadapter.shared_files import SharedFiles
from ...ipadapter.sites import UNET, layer_blocks, structure_of_blocks
from ..host_types import HostEncoder, Socket
from ..notices import say_on_node
from ..sampling.attach import blocks_of, sites_of, with_lora_weights
from .adapters import LoadedAdapter, load_adapter
from .face_lora import apply_face_lora
from .face_packs import load_face_models
from .pulid import eva_path, load_eva
from .search import find_adapter, find_encoder, find_lora

Bundle = dict[str, dict[str, Any]]  # the IPADAPTER value of unified loaders, ours and other packs'
PRESETS_OWN = "the preset's own"  # the face pack that the adapter was trained with
_encoders = SharedFiles()


@dataclass(frozen=True)
class FaceSettings:
    """The settings that only FaceID presets use."""

    lora_strength: float = 0.0
    provider: str = "CPU"
    model_name: str = PRESETS_OWN


def load_preset(
    model: ModelPatcher, name: str, presets: Mapping[str, Preset], upstream: Socket, faces: FaceSettings
) -> tuple[ModelPatcher, Bundle]:
    """A model (with the preset's LoRA) and the pipeline of a preset; only files that its adapter uses are loaded."""
    preset = presets[name]
    family = model_family(model)
    try:
        path = find_adapter(name, preset, family)
    except FileNotFoundError:
        refuse_other_blocks(model, family)
        raise
    adapter = load_adapter(path)
    if note := warning(adapter.name, adapter.config, *anime_base_of_model(model)):
        say_on_node(note)
    pipeline = {**upstream_parts(upstream), "ipadapter": {"file": str(path), "model": adapter}}
    if adapter.config.takes is not None:
        encoder = find_encoder(adapter.config, adapter.name)
        pipeline["clipvision"] = {"file": str(encoder), "model": load_encoder(encoder)}
    if adapter.config.is_pulid:
        pipeline["clipvision"] = {"file": str(eva_path()), "model": load_eva()}
    if preset.face_pack is not None:
        pack = preset.face_pack if faces.model_name == PRESETS_OWN else faces.model_name
        detector = load_face_models(faces.provider, pack, complete=True)
        pipeline["insightface"] = {"provider": faces.provider, "model": detector}
    if preset.loras and faces.lora_strength != 0:
        model = with_lora(model, adapter, name, preset, family, faces.lora_strength)
    return model, pipeline


def model_family(model: ModelPatcher) -> Family:
    """The family whose adapters fit a model, by its structure."""
    sites = sites_of(model)
    width, structure = sites[0].context_dim, structure_of_blocks(layer_blocks(sites))
    projects_text = hasattr(model.get_model_object("diffusion_model"), "encoder_hid_proj")
    family = family_of_model(width, projects_text, structure)
    if family is None or not family.presets:
        raise ModelMismatchError(
            "The unified loaders know adapters for SD1.5, SDXL, Kolors, Flux and SD3.5, and this model reads text "
            f"{width} wide. Use an IPAdapter Model Loader with an adapter that was made for it."
        )
    return family


def refuse_other_blocks(model: ModelPatcher, family: Family) -> None:
    """NoAdapterError for a relative of a transformer without published adapters, such as Flux.2 and SD3.5 Medium: it
    has the structure, and other numbers of blocks.
    """
    found = blocks_of(model)
    if family.structure is UNET or found == family.blocks:
        return

    def counted(blocks: Sequence[Block]) -> str:
        parts = [part for part, _ in blocks]
        return " and ".join(f"{parts.count(part)} {part}" for part in dict.fromkeys(parts))

    raise NoAdapterError(
        f"No adapter was published for this model, which is like {family.title} but has {counted(found)} blocks: those "
        f"for {family.title} need {counted(family.blocks)} blocks."
    )


def anime_base_of_model(model: ModelPatcher) -> tuple[str, str | None]:
    """A model's name for messages, and its anime family of SDXL by file name, metadata or prediction; None if none."""
    schedule = model.get_model_object("model_sampling")  # SDXL of other sorts predict v too, with EDM's schedule
    classes = {each.__name__ for each in type(schedule).__mro__}
    v = "v-prediction" if {"V_PREDICTION", "ModelSamplingDiscrete"} <= classes else None
    init = getattr(model, "cached_patcher_init", None)  # the function and arguments with which ComfyUI reloads it
    for path in (Path(each) for each in (init[1] if init else ()) if isinstance(each, str)):
        if path.is_file():
            return path.name, anime_base_of_file(path) or v
    return "The model", v


def upstream_parts(upstream: Socket) -> Bundle:
    """Copies of the encoder's and detector's entries in the IPADAPTER value of an earlier unified loader."""
    if upstream is None:
        return {"clipvision": {"file": None, "model": None}, "insightface": {"provider": None, "model": None}}
    if not isinstance(upstream, Mapping) or "ipadapter" not in upstream:
        raise AdapterError(
            "The ipadapter input of a unified loader takes what another unified loader gives, to share its encoder; a "
            f"single adapter ({type(upstream).__name__}) goes into an apply node."
        )
    empty = upstream_parts(None)
    return {key: {**part, **(upstream.get(key) or {})} for key, part in empty.items()}


def load_encoder(path: Path) -> HostEncoder:
    """The CLIP_VISION of a file; an encoder that is still in use is shared."""

    def open_it() -> HostEncoder:
        loaded = comfy.clip_vision.load(str(path))
        if loaded is None:
            raise AdapterError(f"{path.name} is no vision encoder that ComfyUI can load. Download it again.")
        return loaded

    return _encoders.get_or_open(path, open_it)


def with_lora(
    model: ModelPatcher, adapter: LoadedAdapter, name: str, preset: Preset, family: Family, strength: float
) -> ModelPatcher:
    """A clone with the LoRA of the adapter's own file, which always fits, or else with the separate LoRA file."""
    if adapter.config.has_lora:
        return apply_face_lora(model, adapter, strength)
    weights = cast(dict[str, Tensor], comfy.utils.load_torch_file(str(find_lora(name, preset, family)), safe_load=True))
    return with_lora_weights(model, weights, strength)

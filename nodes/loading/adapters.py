"""Load adapters, shared between nodes, and read the IPADAPTER values of other packs' loaders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import comfy.model_management
import comfy.model_patcher
import comfy.ops
from torch import Tensor, nn

from ...ipadapter.adapter import AdapterNetwork, split_off_acting
from ...ipadapter.cache import serial
from ...ipadapter.checkpoint import AdapterConfig, Checkpoint, read_checkpoint, read_file
from ...ipadapter.errors import AdapterError
from ...ipadapter.names import name_with_folder
from ...ipadapter.shared_files import SharedFiles
from ...ipadapter.sites import KeyNumber
from ..host_types import FaceAnalysis, HostEncoder, Socket
from ..notices import say_on_node

PARTS = {"clipvision": "vision encoder", "insightface": "face pack"}  # of a unified loader's dict, beside the adapter


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """An adapter whose weights ComfyUI loads to the device when needed, and may unload afterwards.

    There is no reference to the checkpoint, because its tensors would be a second copy once ComfyUI moves the weights.
    """

    name: str
    config: AdapterConfig
    lora: Mapping[str, Tensor]
    patcher: comfy.model_patcher.ModelPatcher
    # Modules that act at every step, by key number, where the mechanism has some; `patcher` does not contain them.
    acting: comfy.model_patcher.ModelPatcher | None = None

    @property
    def network(self) -> AdapterNetwork:
        return self.patcher.model

    def layer(self, key_number: KeyNumber) -> nn.Module:
        """The adapter's modules for a cross-attention or a block: those that act at every step, if there are some."""
        return self.network.layer(key_number) if self.acting is None else self.acting.model[str(key_number)]

    def is_dynamic(self) -> bool:
        """ComfyUI calls this on every object that has a `patcher`."""
        return getattr(self.patcher, "is_dynamic", lambda: False)()

    def to_device(self) -> comfy.model_patcher.ModelPatcher:
        """Load the weights to the device that computes, under ComfyUI's memory management."""
        comfy.model_management.load_models_gpu([self.patcher])
        return self.patcher


@dataclass(frozen=True)
class Pipeline:
    """The parts of an IPADAPTER value, from any pack's loader: the adapter, perhaps an encoder and a face detector."""

    adapter: LoadedAdapter
    clip_vision: HostEncoder = None
    insightface: FaceAnalysis = None


_files = SharedFiles()
_state_dicts: WeakValueDictionary[int, LoadedAdapter] = WeakValueDictionary()


def load_adapter(path: Path, shortcut: bool | None = None) -> LoadedAdapter:
    """The adapter of a file; an adapter that is still in use is shared. CheckpointError for another kind of file."""

    def open_it() -> LoadedAdapter:
        state_dict, metadata = read_file(path)
        checkpoint = read_checkpoint(state_dict, name_with_folder(path), metadata, shortcut=shortcut)
        if fault := checkpoint.config.lora_fault:
            say_on_node(f"The LoRA in {path.name} cannot be used ({fault}); everything else of it can.")
        return manage(checkpoint)

    return _files.get_or_open(path, open_it, shortcut)


def open_pipeline(value: Socket, clip_vision: HostEncoder = None, insightface: FaceAnalysis = None) -> Pipeline:
    """Read an IPADAPTER value: our adapter, or another pack's state dict or unified loader's dict.

    An encoder or detector connected to the node itself replaces the loader's. Either may be a unified loader's dict.
    """
    clip_vision, insightface = part_of(clip_vision, "clipvision"), part_of(insightface, "insightface")
    if isinstance(value, LoadedAdapter):
        return Pipeline(value, clip_vision, insightface)
    if isinstance(value, Mapping) and "ipadapter" in value:
        parts = {key: _model_in(value, key) for key in ("ipadapter", *PARTS)}
        if parts["ipadapter"] is None:
            raise AdapterError(
                "The unified loader brought no adapter: choose a preset whose file you have, or connect an "
                "IPAdapter Model Loader."
            )
        inner = open_pipeline(parts["ipadapter"])
        return Pipeline(inner.adapter, clip_vision or parts["clipvision"], insightface or parts["insightface"])
    if isinstance(value, Mapping) and isinstance(value.get("image_proj"), Mapping) and value["image_proj"]:
        return Pipeline(_from_state_dict(value), clip_vision, insightface)
    raise AdapterError(
        f"The ipadapter input needs an adapter from an IPAdapter loader, and got a {type(value).__name__}."
    )


def part_of(value: Socket, part: str) -> Socket:
    """The part of a unified loader's dict with this key of PARTS; any other value is returned as it is.

    Raises:
        AdapterError: the preset of the loader came without this part.
    """
    if not isinstance(value, Mapping) or "ipadapter" not in value:
        return value
    if (found := _model_in(value, part)) is None:
        raise AdapterError(
            f"The unified loader that is connected as {PARTS[part]} has loaded none. Choose a preset that comes with a "
            f"{PARTS[part]}, such as PULID, or connect a loader of a {PARTS[part]}."
        )
    return found


def _model_in(loaded: Mapping[str, Any], part: str) -> Socket:
    """What a unified loader's dict has as the model of a part; None if it has none."""
    held = loaded.get(part)
    return held.get("model") if isinstance(held, Mapping) else None


def _from_state_dict(state_dict: Mapping[str, Any]) -> LoadedAdapter:
    key = serial(next(iter(state_dict["image_proj"].values())))
    if (loaded := _state_dicts.get(key)) is None:
        loaded = _state_dicts[key] = manage(read_checkpoint(state_dict, "The connected adapter"))
    return loaded


def manage(checkpoint: Checkpoint) -> LoadedAdapter:
    """The adapter of a checkpoint, under ComfyUI's memory management."""
    network = AdapterNetwork.from_checkpoint(checkpoint, comfy.ops.manual_cast)
    acting = split_off_acting(network)
    patchers = (_patcher(network), None if acting is None else _patcher(acting))
    return LoadedAdapter(checkpoint.name, checkpoint.config, checkpoint.lora, *patchers)


def _patcher(module: nn.Module) -> comfy.model_patcher.ModelPatcher:
    return comfy.model_patcher.CoreModelPatcher(  # looked up late: ComfyUI replaces the class at start
        module,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )

"""Find the files that belong together in ComfyUI's model folders."""

from collections.abc import Hashable
from pathlib import Path

from ...ipadapter import search
from ...ipadapter.config import AdapterConfig
from ...ipadapter.families import Family
from ...ipadapter.model_folders import ADAPTERS, ENCODERS, LORAS, ModelFolders, model_folder
from ...ipadapter.presets import Preset
from ...ipadapter.search import EVA_FOLDERS
from ...ipadapter.shared_files import fingerprint
from .places import model_places


def find_adapter(preset_name: str, preset: Preset, family: Family) -> Path:
    """The adapter of a preset for a model family."""
    return search.find_adapter(preset_name, preset, family, folders(ADAPTERS))


def find_encoder(config: AdapterConfig, adapter_name: str) -> Path:
    """The vision encoder whose embeds an adapter takes."""
    return search.find_encoder(config, adapter_name, folders(ENCODERS))


def find_lora(preset_name: str, preset: Preset, family: Family) -> Path:
    """The LoRA file of a preset, for an adapter whose own file holds no complete LoRA."""
    return search.find_lora(preset_name, preset, family, folders(LORAS))


def fingerprint_of_preset(preset: Preset) -> Hashable:
    """A value that changes when a file that a preset may use is added, removed or replaced."""
    names = (ADAPTERS, *(EVA_FOLDERS if preset.of_pulid else (ENCODERS,)))
    paths = [path for folder in folders(*names).values() for path in folder.files.values()]
    if preset.loras:
        loras = folders(LORAS)[LORAS].files  # hundreds of them: only those with the name of one of the preset's
        paths += [loras[name] for wanted in preset.loras.values() for name in wanted.matches(list(loras))]
    return tuple(fingerprint(path) for path in paths)


def folders(*names: str) -> ModelFolders:
    """The files that are now in ComfyUI's model folders of these names."""
    places = model_places()
    return {name: model_folder(places, name) for name in names}

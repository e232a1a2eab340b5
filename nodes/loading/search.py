"""Find the files that belong together in ComfyUI's model folders."""

from pathlib import Path

import folder_paths

from ...ipadapter import search
from ...ipadapter.config import AdapterConfig
from ...ipadapter.families import Family
from ...ipadapter.presets import Preset
from ...ipadapter.search import Room, Rooms
from .files import model_file


def find_adapter(preset_name: str, preset: Preset, family: Family) -> Path:
    """The adapter of a preset for a model family."""
    return search.find_adapter(preset_name, preset, family, rooms(search.ADAPTERS))


def find_encoder(config: AdapterConfig, adapter_name: str) -> Path:
    """The vision encoder whose embeds an adapter takes."""
    return search.find_encoder(config, adapter_name, rooms(search.ENCODERS))


def find_lora(preset_name: str, preset: Preset, family: Family) -> Path:
    """The LoRA file of a preset, for an adapter whose own file holds none that is complete."""
    return search.find_lora(preset_name, preset, family, rooms(search.LORAS))


def rooms(*folders: str) -> Rooms:
    """ComfyUI's folders of those names: no folders in them, no pipes or links to nowhere, none of macOS's own files."""
    found = {}
    for folder in folders:
        names = [name for name in folder_paths.get_filename_list(folder) if not Path(name).name.startswith("._")]
        paths = {name: model_file(folder, name) for name in names}
        files = {name: path for name, path in paths.items() if path is not None}
        found[folder] = Room([Path(place) for place in folder_paths.get_folder_paths(folder)], files)
    return found

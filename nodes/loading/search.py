"""Find the files that belong together in ComfyUI's model folders."""

from collections.abc import Hashable
from pathlib import Path

import folder_paths

from ...ipadapter import search
from ...ipadapter.config import AdapterConfig
from ...ipadapter.families import Family
from ...ipadapter.presets import Preset
from ...ipadapter.search import ADAPTERS, ENCODERS, LORAS, Room, Rooms
from ...ipadapter.shared_files import fingerprint
from .files import model_file


def find_adapter(preset_name: str, preset: Preset, family: Family) -> Path:
    """The adapter of a preset for a model family."""
    return search.find_adapter(preset_name, preset, family, rooms(ADAPTERS))


def find_encoder(config: AdapterConfig, adapter_name: str) -> Path:
    """The vision encoder whose embeds an adapter takes."""
    return search.find_encoder(config, adapter_name, rooms(ENCODERS))


def find_lora(preset_name: str, preset: Preset, family: Family) -> Path:
    """The LoRA file of a preset, for an adapter whose own file holds none that is complete."""
    return search.find_lora(preset_name, preset, family, rooms(LORAS))


def fingerprint_of_preset(preset: Preset) -> Hashable:
    """What changes when a file that the search for a preset may choose comes, goes or becomes another one."""
    paths = [path for room in rooms(ADAPTERS, ENCODERS).values() for path in room.files.values()]
    if preset.loras:
        loras = rooms(LORAS)[LORAS].files  # hundreds of them: those alone that are called like one of the preset's
        paths += [loras[name] for wanted in preset.loras.values() for name in wanted.matches(list(loras))]
    return tuple(fingerprint(path) for path in paths)


def rooms(*folders: str) -> Rooms:
    """ComfyUI's folders of those names: no folders in them, no pipes or links to nowhere, none of macOS's own files."""
    found = {}
    for folder in folders:
        names = [name for name in folder_paths.get_filename_list(folder) if not Path(name).name.startswith("._")]
        paths = {name: model_file(folder, name) for name in names}
        files = {name: path for name, path in paths.items() if path is not None}
        found[folder] = Room([Path(place) for place in folder_paths.get_folder_paths(folder)], files)
    return found

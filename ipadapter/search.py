"""Find the files that belong together: an adapter for a preset and a model, the encoder it takes, its LoRA."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .adapter import encoder_for
from .config import AdapterConfig
from .families import FAMILIES, Family
from .peek import describe, peek_adapter, peek_encoder, peek_lora_width
from .presets import Preset, encoders_for, presets_of
from .published import FOLDERS, Published
from .sites import UNET

log = logging.getLogger(__name__)
ADAPTERS, ENCODERS, LORAS = FOLDERS["adapter"], FOLDERS["encoder"], FOLDERS["lora"]


@dataclass(frozen=True)
class Room:
    """A model folder: the places on the disk that it stands for, and the files in them by their names below those."""

    places: Sequence[Path]
    files: Mapping[str, Path]

    def expected(self, name: str) -> str:
        return f"expected {name} in {' or '.join(map(str, self.places))}"

    def found(self) -> str:
        return f"Found there: {', '.join(map(describe, self.files.values())) or 'nothing'}."


Rooms = Mapping[str, Room]  # by ComfyUI's name of the folder


def find_adapter(preset_name: str, preset: Preset, family: Family, rooms: Rooms) -> Path:
    """The adapter of a preset for a model family: by its name, else the only file whose tensors are such an adapter.

    Raises ValueError for a family that has none, FileNotFoundError with what was searched and found.
    """
    if (wanted := _of_family(preset.adapters, family)) is None:
        others = " and ".join(FAMILIES[name].title for name in preset.adapters)
        raise ValueError(
            f"The preset {preset_name} exists for {others} only, and the model is {family.title}. "
            f"Choose another preset: {', '.join(presets_of(family))}."
        )

    def fits(path: Path) -> bool:
        config = peek_adapter(path)
        return config is not None and _is_wanted(config, wanted, family)

    room = rooms[ADAPTERS]
    if path := _find(room, wanted, fits):
        return path
    raise FileNotFoundError(
        f"No adapter for the preset {preset_name} and {family.title} models: "
        f"{room.expected(wanted.name)}. Get it from {wanted.source}. {room.found()}"
    )


def find_encoder(config: AdapterConfig, adapter_name: str, rooms: Rooms) -> Path:
    """The vision encoder whose embeds an adapter takes: told by its tensors, a published name decides among several."""
    named = encoders_for(config)
    room = rooms[ENCODERS]
    files = room.files
    order = [name for file in named for name in file.matches(list(files))]
    for name in dict.fromkeys([*order, *files]):
        sizes = peek_encoder(files[name])
        if sizes is not None and sizes.gives(config):
            return files[name]
    published = f"{named[0].name} ({named[0].source})" if named else encoder_for(config.takes, config.embed_dim)
    raise FileNotFoundError(
        f"No vision encoder for {adapter_name}, which takes {config.takes} embeds {config.embed_dim} wide: "
        f"{room.expected(published)}. {room.found()}"
    )


def find_lora(preset_name: str, preset: Preset, family: Family, rooms: Rooms) -> Path:
    """The LoRA file of a preset, for an adapter whose own file holds none."""
    if (wanted := _of_family(preset.loras, family)) is None:
        raise ValueError(f"The preset {preset_name} has no LoRA for {family.title}. Set lora_strength to 0.")
    room = rooms[LORAS]
    files = room.files
    paths = [files[name] for name in wanted.matches(list(files))]
    if fitting := [path for path in paths if peek_lora_width(path) == family.text_width]:
        return fitting[0]
    raise FileNotFoundError(
        f"No LoRA for the preset {preset_name}, whose adapter holds no complete one itself: "
        f"{room.expected(wanted.name)}. Get it from {wanted.source}, or set lora_strength to 0."
    )


def _find(room: Room, wanted: Published, fits: Callable[[Path], bool]) -> Path | None:
    """A file that is called as wanted and fits, else the only other one that fits, else one that is called so."""
    files = room.files
    named = wanted.matches(list(files))
    fitting = [name for name in named if fits(files[name])]
    if not fitting and len(fitting := [name for name in files if name not in named and fits(files[name])]) > 1:
        raise FileNotFoundError(
            f"No file in {' or '.join(map(str, room.places))} is called {wanted.name}, and several "
            f"could be it: {', '.join(fitting)}. Rename the right one."
        )
    if not (found := [*fitting, *named]):
        return None
    log.info("%s is used for %s, out of %s", found[0], wanted.name, ", ".join(named or fitting))
    return files[found[0]]


def _of_family(files: Mapping[str, Published], family: Family) -> Published | None:
    """The file for a family, or for one whose adapters run on it too."""
    return next((files[name] for name in family.presets if name in files), None)


def _is_wanted(config: AdapterConfig, wanted: Published, family: Family) -> bool:
    same_encoder = wanted.embed_dim in (None, config.embed_dim)
    unet = family.structure is UNET
    same_family = config.context_dim == family.text_width if unet else config.family == family.name
    return config.variant == wanted.variant and same_family and same_encoder

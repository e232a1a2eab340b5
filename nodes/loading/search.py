"""Find the files that belong together: an adapter for a preset and a model, the encoder it takes, its LoRA."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import folder_paths

from ...ipadapter.adapter import encoder_for
from ...ipadapter.config import AdapterConfig
from ...ipadapter.families import FAMILIES, Family
from ...ipadapter.peek import describe, peek_adapter, peek_encoder, peek_lora_width
from ...ipadapter.presets import Preset, encoders_for
from ...ipadapter.published import Published
from .files import ADAPTERS, model_file

log = logging.getLogger(__name__)


def find_adapter(preset_name: str, preset: Preset, family: Family) -> Path:
    """The adapter of a preset for a model family: by its name, else the only file whose tensors are such an adapter.

    Raises ValueError for a family that has none, FileNotFoundError with what was searched and found.
    """
    if (wanted := _of_family(preset.adapters, family)) is None:
        others = " and ".join(FAMILIES[name].title for name in preset.adapters)
        raise ValueError(
            f"The preset {preset_name} exists for {others} only, and the model is {family.title}. "
            "Choose another preset."
        )

    def fits(path: Path) -> bool:
        config = peek_adapter(path)
        return config is not None and _is_wanted(config, wanted, family)

    if path := _find(ADAPTERS, wanted, fits):
        return path
    raise FileNotFoundError(
        f"No adapter for the preset {preset_name} and an {family.title} model: "
        f"{_expected(ADAPTERS, wanted.name)}. Get it from {wanted.source}. {_found(ADAPTERS)}"
    )


def find_encoder(config: AdapterConfig, adapter_name: str) -> Path:
    """The vision encoder whose embeds an adapter takes: told by its tensors, a published name decides among several."""
    named = encoders_for(config)
    files = _files("clip_vision")
    order = [name for file in named for name in file.matches(list(files))]
    for name in dict.fromkeys([*order, *files]):
        sizes = peek_encoder(files[name])
        if sizes is not None and sizes.gives(config):
            return files[name]
    published = f"{named[0].name} ({named[0].source})" if named else encoder_for(config.takes, config.embed_dim)
    raise FileNotFoundError(
        f"No vision encoder for {adapter_name}, which takes {config.takes} embeds {config.embed_dim} wide: "
        f"{_expected('clip_vision', published)}. {_found('clip_vision')}"
    )


def find_lora(preset_name: str, preset: Preset, family: Family) -> Path:
    """The LoRA file of a preset, for an adapter whose own file holds none."""
    if (wanted := _of_family(preset.loras, family)) is None:
        raise ValueError(f"The preset {preset_name} has no LoRA for {family.title}. Set lora_strength to 0.")
    files = _files("loras")
    paths = [files[name] for name in wanted.matches(list(files))]
    if fitting := [path for path in paths if peek_lora_width(path) == family.text_width]:
        return fitting[0]
    raise FileNotFoundError(
        f"No LoRA for the preset {preset_name}, whose adapter holds no complete one itself: "
        f"{_expected('loras', wanted.name)}. Get it from {wanted.source}, or set lora_strength to 0."
    )


def _find(folder: str, wanted: Published, fits: Callable[[Path], bool]) -> Path | None:
    """A file that is called as wanted and fits, else the only other one that fits, else one that is called so."""
    files = _files(folder)
    named = wanted.matches(list(files))
    fitting = [name for name in named if fits(files[name])]
    if not fitting and len(fitting := [name for name in files if name not in named and fits(files[name])]) > 1:
        raise FileNotFoundError(
            f"No file in {' or '.join(folder_paths.get_folder_paths(folder))} is called {wanted.name}, and several "
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
    return config.variant == wanted.variant and config.context_dim == family.text_width and same_encoder


def _files(folder: str) -> dict[str, Path]:
    """The files of a model folder by name: no folders, pipes or links to nowhere, none of macOS's own."""
    names = [name for name in folder_paths.get_filename_list(folder) if not Path(name).name.startswith("._")]
    paths = {name: model_file(folder, name) for name in names}
    return {name: path for name, path in paths.items() if path is not None}


def _expected(folder: str, name: str) -> str:
    return f"expected {name} in {' or '.join(folder_paths.get_folder_paths(folder))}"


def _found(folder: str) -> str:
    found = [describe(path) for path in _files(folder).values()]
    return f"Found there: {', '.join(found) or 'nothing'}."

"""Find the files for a preset and a model in the model folders: the adapter, its vision encoder, its LoRA."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from .catalog import BY_NAME, EVA
from .config import AdapterConfig
from .errors import SeveralFilesError
from .families import FAMILIES, Family
from .model_folders import ADAPTERS, ENCODERS, LORAS, ModelFolder, ModelFolders
from .peek import describe, facts_of, peek_adapter, peek_encoder, peek_lora_width
from .presets import Preset, encoder_fits, encoders_for, presets_of, same_tensors
from .projecting import encoder_for
from .published import Published
from .sites import UNET

log = logging.getLogger(__name__)
Files = TypeVar("Files")
EVA_FOLDERS = (ENCODERS, "open_clip", "text_encoders")  # ComfyUI counts models/clip to the last
EVA_FILE = "EVA02_CLIP_L_336_psz14_s6B.pt"  # of its authors; the catalogue has timm's copy


def find_adapter(preset_name: str, preset: Preset, family: Family, folders: ModelFolders) -> Path:
    """The path of a preset's adapter for a model family.

    A file with a usual name of the adapter is chosen, or else the only file whose tensors are this adapter's. Where
    there is none, the preset's other versions are searched in the same way.

    Raises:
        ValueError: the preset has no adapter for this family.
        FileNotFoundError: no file fits; with the folders and files searched.
        SeveralFilesError: several files fit, and none has the usual name.
    """
    if (versions := _of_family(preset.versions, family)) is None:
        others = " and ".join(FAMILIES[name].title for name in preset.versions)
        raise ValueError(
            f"The preset {preset_name} exists for {others} only, and the model is {family.title}. "
            f"Choose another preset: {', '.join(presets_of(family))}."
        )
    folder = folders[ADAPTERS]
    for wanted in versions:
        if candidates := _candidates(wanted, family, folder):
            log.info("%s is used for %s, out of %s", candidates[0], wanted.name, ", ".join(candidates))
            return folder.files[candidates[0]]
    newest, *older = versions
    nor = f", nor {' or '.join(file.name for file in older)}" if older else ""
    raise FileNotFoundError(
        f"No adapter for the preset {preset_name} and {family.title} models{nor}: expected {newest.name} in "
        f"{_places(folder)}. Get it from {newest.source}. {_found(folder)}"
    )


def _candidates(wanted: Published, family: Family, folder: ModelFolder) -> list[str]:
    """The names of files that could be a published adapter; SeveralFilesError if several without its name could."""
    named = wanted.matches(list(folder.files))
    fitting = [name for name in named if _is_wanted(folder.files[name], wanted, family)]
    if not fitting and not wanted.only_by_name:
        others = [name for name in folder.files if name not in named and not _named_otherwise(name, wanted)]
        fitting = [name for name in others if _is_wanted(folder.files[name], wanted, family)]
        if len({folder.files[name].resolve() for name in fitting}) > 1:  # not one file with several names
            raise SeveralFilesError(
                f"No file in {_places(folder)} is called {wanted.name}, and several could be it: "
                f"{', '.join(fitting)}. Rename the right one."
            )
    damaged = [name for name in named if peek_adapter(folder.files[name]) is None]  # the loader explains the damage
    return [*fitting, *damaged]


def find_encoder(config: AdapterConfig, adapter_name: str, folders: ModelFolders) -> Path:
    """The path of a vision encoder with the sizes that an adapter needs; files with published names come first.

    Raises:
        FileNotFoundError: no encoder has these sizes. Encoders with the same width and another number of tokens, or
            with another encoder's name, are refused too, since the adapter was not trained with them.
    """
    named, folder = encoders_for(config), folders[ENCODERS]
    files = folder.files
    order = [name for file in named for name in file.matches(list(files))]
    like = []
    for name in dict.fromkeys([*order, *files]):
        sizes = peek_encoder(files[name])
        if sizes is not None and encoder_fits(sizes, config, name):
            return files[name]
        if sizes is not None and sizes.gives(config):
            other = any(file.is_other(name) for file in named)
            has = "is another encoder, by its name" if other else f"has {sizes.tokens} tokens a picture"
            like.append(f"{name} {has}")
    published = f"{named[0].name} ({named[0].source})" if named else encoder_for(config.takes, config.embed_dim)
    nearly = f"{', '.join(like)}, and the adapter takes {named[0].title}. " if like and named else ""
    raise FileNotFoundError(
        f"No vision encoder for {adapter_name}, which takes {config.takes} embeds {config.embed_dim} wide: "
        f"expected {published} in {_places(folder)}. {nearly}{_found(folder)}"
    )


def find_eva(folders: ModelFolders) -> Path:
    """The path of the EVA02-CLIP L 336 encoder in any folder of encoders, recognised by its tensors.

    Files with its name are read first. Raises FileNotFoundError with the names of both published files.
    """
    paths = [path for name in EVA_FOLDERS for path in folders[name].files.values()]
    paths.sort(key=lambda path: re.search("eva", str(path), re.IGNORECASE) is None)
    if (found := next((path for path in paths if facts_of(path).eva), None)) is None:
        raise FileNotFoundError(
            "No vision encoder EVA02-CLIP L 336 in models/clip_vision, models/open_clip or models/clip: put "
            f"{EVA_FILE} there, from huggingface.co/QuanSun/EVA-CLIP (MIT), or the file {BY_NAME[EVA].path} of "
            f"{BY_NAME[EVA].source}."
        )
    return found


def find_lora(preset_name: str, preset: Preset, family: Family, folders: ModelFolders) -> Path:
    """The path of a preset's LoRA file, for an adapter file without a LoRA.

    Raises:
        ValueError: the preset has no LoRA for this family.
        FileNotFoundError: no file has a usual name of the LoRA and the family's text width.
    """
    if (wanted := _of_family(preset.loras, family)) is None:
        raise ValueError(f"The preset {preset_name} has no LoRA for {family.title}. Set lora_strength to 0.")
    folder = folders[LORAS]
    paths = [folder.files[name] for name in wanted.matches(list(folder.files))]
    if fitting := [path for path in paths if peek_lora_width(path) == family.text_width]:
        return fitting[0]
    raise FileNotFoundError(
        f"No LoRA for the preset {preset_name}, whose adapter holds no complete one itself: expected {wanted.name} in "
        f"{_places(folder)}. Get it from {wanted.source}, or set lora_strength to 0."
    )


def _of_family(files: Mapping[str, Files], family: Family) -> Files | None:
    """The file for the first of `family.presets` (families whose adapters run on its models) that has one, or None."""
    return next((files[name] for name in family.presets if name in files), None)


def _is_wanted(path: Path, wanted: Published, family: Family) -> bool:
    """Whether a file's tensors are a published adapter's, with the token width or family of the model."""
    config = peek_adapter(path)
    if config is None or config.variant != wanted.variant or wanted.embed_dim not in (None, config.embed_dim):
        return False
    unet = family.structure is UNET
    return config.context_dim == family.text_width if unet else config.family == family.name


def _named_otherwise(name: str, wanted: Published) -> bool:
    """Whether a file has a usual name of another published adapter with the same tensors."""
    return any(each.matches([name]) for each in same_tensors(wanted))


def _places(folder: ModelFolder) -> str:
    return " or ".join(map(str, folder.places))


def _found(folder: ModelFolder) -> str:
    files = (describe(name, path) for name, path in folder.files.items())
    return f"Found there: {', '.join(files) or 'no model file'}."

"""Verdicts on presets: whether each would run now, or why not; and the files that each adapter needs.

Verdicts come from the loaders' own search (ipadapter/search.py), so they agree with the loaders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..encoders.face_models import find_complete_pack
from ..ipadapter.catalog import BY_NAME, EVA, needs
from ..ipadapter.config import AdapterConfig
from ..ipadapter.errors import FaceError, SeveralFilesError
from ..ipadapter.families import FAMILIES
from ..ipadapter.model_folders import ENCODERS, ModelFolders
from ..ipadapter.other_files import other_content
from ..ipadapter.peek import facts_of
from ..ipadapter.presets import PRESETS, Preset, encoder_fits, encoders_for
from ..ipadapter.published import Published
from ..ipadapter.search import EVA_FOLDERS, find_adapter, find_encoder, find_eva, find_lora
from .survey import BROKEN, FINE, Found, published_as

Cause = Literal["", "missing", "several", "unusable"]


@dataclass(frozen=True)
class Verdict:
    """Whether a preset runs for a family of models: the files that it would load, and those that are missing."""

    preset: str
    family: str
    files: tuple[Path, ...] = ()
    missing: tuple[Published, ...] = ()
    why: str = ""  # the loader's message if the preset does not run
    cause: Cause = ""  # the same in a word: files are missing, several could be the adapter, or a file cannot be used
    note: str = ""  # about missing files without which the preset still runs: its LoRA, or files beside it

    @property
    def runs(self) -> bool:
        """Whether a loader would run the preset now."""
        return not self.why


def verdict(name: str, family: str, folders: ModelFolders, face_roots: Sequence[Path]) -> Verdict:
    """The verdict on a preset for a family (keys of PRESETS and of its adapters).

    `face_roots` are the folders that hold models/<face pack>.
    """
    preset, wanted = PRESETS[name], FAMILIES[family]
    adapter = preset.adapters[family]
    try:
        path = find_adapter(name, preset, wanted, folders)
    except FileNotFoundError as error:
        wanted_files = (file for file in needs(adapter) if file.kind != "lora")
        missing = tuple(file for file in wanted_files if not _there(file, folders, face_roots))
        cause = "several" if isinstance(error, SeveralFilesError) else "missing"
        return Verdict(name, family, (), missing, str(error), cause)
    config = facts_of(path).adapter
    if config is None:
        content = other_content(path)
        remedy = f"cannot be read: {content}" if content else f"is damaged, or no adapter: get it from {adapter.source}"
        why = f"{path.name} {remedy}."
        return Verdict(name, family, (), (adapter,), why, "unusable")
    return _with_parts(Verdict(name, family, (path,)), preset, config, folders, face_roots)


def _with_parts(
    found: Verdict, preset: Preset, config: AdapterConfig, folders: ModelFolders, face_roots: Sequence[Path]
) -> Verdict:
    files, missing, note = list(found.files), [], ""
    faults: list[Exception] = []
    if config.takes is not None:
        try:
            files.append(find_encoder(config, files[0].name, folders))
        except FileNotFoundError as error:
            missing += encoders_for(config)[:1]
            faults.append(error)
    if config.is_pulid:
        try:
            files.append(find_eva(folders))
        except FileNotFoundError as error:
            missing.append(BY_NAME[EVA])
            faults.append(error)
    if preset.face_pack is not None:
        try:
            files.append(find_complete_pack(preset.face_pack, face_roots))
        except (FileNotFoundError, FaceError) as error:
            missing += [file for file in needs(preset.adapters[found.family]) if file.kind == "face pack"]
            faults.append(error)
    if preset.loras and not config.has_lora:
        try:
            files.append(find_lora(found.preset, preset, FAMILIES[found.family], folders))
        except (FileNotFoundError, ValueError) as error:
            note = f"without its LoRA: {error}"
    beside = [BY_NAME[name] for name in preset.adapters[found.family].beside]
    if absent := [file for file in beside if not _there(file, folders, face_roots)]:
        missing += absent
        note = "; ".join(f"without {file.title}: get {file.name} from {file.source}" for file in absent)
    cause = "unusable" if any(isinstance(fault, FaceError) for fault in faults) else "missing" if faults else ""
    return Verdict(found.preset, found.family, tuple(files), tuple(missing), " ".join(map(str, faults)), cause, note)


def _there(file: Published, folders: ModelFolders, face_roots: Sequence[Path]) -> bool:
    """Whether an encoder (under any file name), a complete face pack or a file beside an adapter is installed.

    False for other kinds of files.
    """
    if file.kind in ("controlnet", "face parser"):
        return bool(file.matches(list(folders[file.folder].files)))
    if file.kind == "face pack":
        try:
            return bool(find_complete_pack(file.name, face_roots))
        except (FileNotFoundError, FaceError):
            return False
    if file.name == EVA:
        return any(facts_of(path).eva for folder in EVA_FOLDERS for path in folders[folder].files.values())
    if file.kind == "encoder":
        seen = {name: facts_of(path).encoder for name, path in folders[file.folder].files.items()}
        return any(
            sizes is not None and (sizes.pooled, sizes.hidden, sizes.tokens) == file.sizes and not file.is_other(name)
            for name, sizes in seen.items()
        )
    return False


def verdicts(folders: ModelFolders, face_roots: Sequence[Path]) -> list[Verdict]:
    """The verdicts on all presets, for every family that each has an adapter for."""
    pairs = [(name, family) for name, preset in PRESETS.items() for family in preset.adapters if family in FAMILIES]
    return [verdict(name, family, folders, face_roots) for name, family in pairs]


def partners(file: Found, files: Sequence[Found], packs: Sequence[str]) -> tuple[list[str], list[str]]:
    """The encoder and face pack that an adapter needs, as lists of installed and of missing names.

    `files` are the surveyed files, `packs` the names of complete face packs. Both lists are empty for a broken file and
    for a file that is not an adapter.
    """
    if file.config is None or file.state == BROKEN:
        return [], []
    there, missing = [], []
    if file.config.takes is not None:
        encoders = [one for one in files if one.folder == ENCODERS and one.state == FINE]  # that presets find
        fits = [one for one in encoders if one.sizes and encoder_fits(one.sizes, file.config, one.name)]
        named = encoders_for(file.config)
        there += [fits[0].name] if fits else []
        width = f"an encoder with {file.config.takes} embeds {file.config.embed_dim} wide"
        width = file.config.training.unread_encoder or width
        missing += [] if fits else [named[0].name if named else width]
    if file.config.is_pulid:
        eva = next((one.name for one in files if one.folder in EVA_FOLDERS and facts_of(one.path).eva), None)
        (there if eva else missing).append(eva or EVA)
    if file.config.needs_face:
        published = published_as(file.config)
        pack = published.face_pack if published and published.face_pack else "buffalo_l"
        (there if pack in packs else missing).append(f"face pack {pack}")
    return there, missing

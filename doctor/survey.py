"""Walk through the model folders, recognise every file, and note problems."""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ..ipadapter.base_models import anime_base_of_file
from ..ipadapter.catalog import ADAPTERS, ANIME, BY_NAME, ENCODERS, EVA, LORAS
from ..ipadapter.config import AdapterConfig
from ..ipadapter.families import FAMILIES
from ..ipadapter.model_folders import (
    ADAPTERS as ADAPTER_FOLDER,
    ENCODERS as ENCODER_FOLDER,
    LORAS as LORA_FOLDER,
    OTHER_FOLDERS,
    Places,
    walk,
)
from ..ipadapter.other_files import SAFE_SUFFIXES, is_program, other_content
from ..ipadapter.peek import EncoderSizes, FileFacts, facts_of, peek
from ..ipadapter.published import Published
from ..ipadapter.search import EVA_FILE, EVA_FOLDERS

STRAY_SUFFIXES = (*SAFE_SUFFIXES, ".bin")  # examined in other folders; other pickles there are not read
OUR_FOLDERS = (ADAPTER_FOLDER, ENCODER_FOLDER, LORA_FOLDER)
ADAPTER_FOLDERS = (ADAPTER_FOLDER, *(other.name for other in OTHER_FOLDERS))  # folders whose adapters loaders list
ENCODER_FOLDERS = (ENCODER_FOLDER, "open_clip")
COMFYUI_FOLDERS = (  # ComfyUI's own folders: an adapter, encoder or LoRA in the wrong folder should be moved
    "checkpoints", "diffusion_models", "unet", "loras", "vae", "clip", "text_encoders", "style_models", "embeddings",
    "upscale_models", ADAPTER_FOLDER, *ENCODER_FOLDERS,
)  # fmt: skip
CHECKPOINT_FOLDERS = ("checkpoints", "diffusion_models", "unet")
UNSEARCHED = "the loaders do not search this folder"
UNFINISHED = "a download that has not ended: let it end, or start it again"
SAMPLE = 1 << 16  # bytes hashed at the start, the middle and the end of a file, to recognise duplicates quickly
UNUSABLE = {  # suffixes of files that no loader lists, in the folders of adapters and encoders
    ".part": UNFINISHED, ".crdownload": UNFINISHED, ".aria2": UNFINISHED, ".incomplete": UNFINISHED,
    ".zip": "packed: unpack it",
    ".gguf": "no loader of this pack reads GGUF: get it as .safetensors",
}  # fmt: skip
PROGRAM = "no loader runs programs from model files: get the model's tensors, best as .safetensors"
MORE_THAN_TENSORS = "; or a pickle that holds more than tensors, which is never run"
FINE, DOUBTFUL, BROKEN = "fine", "look at it", "broken"


@dataclass(frozen=True)
class Found:
    """A file or a face pack's folder, with its kind, its state, and a note on its problem."""

    path: Path
    folder: str  # ComfyUI's name of its model folder
    name: str  # path below that folder
    size: int = 0  # bytes
    kind: str = ""  # adapter, encoder, lora, face pack, checkpoint; "" for files that the pack does not use
    title: str = ""
    state: str = FINE
    note: str = ""
    config: AdapterConfig | None = None
    sizes: EncoderSizes | None = None


def survey(places: Places) -> list[Found]:
    """All files for this pack, in any model folder, and all other files in the folders of adapters and encoders.

    A file that several folders contain (by links, or a folder within a folder) is listed once. The pack's own folders
    come first, so that it is listed where it belongs.
    """
    first = dict.fromkeys([*OUR_FOLDERS, *ADAPTER_FOLDERS])
    found: dict[Path, Found] = {}
    for folder in [*first, *(folder for folder in places if folder not in first)]:
        for path, name in walk(places.get(folder, ())):
            if folder not in first and not name.lower().endswith(STRAY_SUFFIXES) and path.name != EVA_FILE:
                continue
            file = examine(path, folder, PurePath(name).as_posix())
            if file is not None:
                found.setdefault(path.resolve(), file)
    for folder in (ADAPTER_FOLDER, ENCODER_FOLDER):
        for path, name in walk(places.get(folder, ()), tuple(UNUSABLE)):
            note, size = UNUSABLE[path.suffix.lower()], path.lstat().st_size
            found.setdefault(path, Found(path, folder, PurePath(name).as_posix(), size, state=DOUBTFUL, note=note))
    return [*_misspelt(places), *with_duplicates(found.values())]


def _misspelt(places: Places) -> list[Found]:
    """Folders with model files beside those of adapters and encoders, called nearly as these and not searched."""
    found: dict[Path, Found] = {}
    searched = [place for folder in places.values() for place in folder if place.is_dir()]
    for wanted in (ADAPTER_FOLDER, ENCODER_FOLDER):
        beside = [each for place in places.get(wanted, ()) if place.parent.is_dir() for each in place.parent.iterdir()]
        for folder in sorted(each for each in set(beside) if each.is_dir()):
            like = re.sub("[^a-z]", "", folder.name.lower()).removesuffix("s") == wanted.replace("_", "")
            if like and any(walk([folder])) and not any(folder.samefile(place) for place in searched):
                line = f"'{wanted}: {folder.as_posix()}'"
                note = f"{UNSEARCHED}: call it {wanted}, or add the line {line} to extra_model_paths.yaml"
                found[folder] = Found(folder, "models", folder.name, 0, "", "a folder", DOUBTFUL, note)
    return list(found.values())


def examine(path: Path, folder: str, name: str) -> Found | None:
    """Recognise a file by its header; None for an unknown file outside of the folders of adapters and encoders.

    `folder` is ComfyUI's name of the model folder, `name` the path below it.
    """
    ours = folder in (ADAPTER_FOLDER, ENCODER_FOLDER)
    listed = ours or folder in ENCODER_FOLDERS or any(each.lists(path) for each in OTHER_FOLDERS if each.name == folder)
    file = Found(path, folder, name)
    if path.is_symlink() and not path.exists():
        note = f"a link to {os.readlink(path)}, and there is no such file"
        return replace(file, state=BROKEN, note=note) if listed else None
    if not path.is_file():
        return replace(file, state=BROKEN, note="no file, but a pipe or a device") if listed else None
    file = replace(file, size=path.stat().st_size)
    facts = facts_of(path)
    if (known := _recognised(file, facts)) or not listed:
        return known
    if facts.tensors == 0:
        return _unreadable(file, ours)
    if not ours:
        return None
    if facts.fault:
        return replace(file, title="an adapter", state=BROKEN, note=facts.fault)
    kind = "adapter" if folder == ADAPTER_FOLDER else "vision encoder"
    return replace(file, title="another model", state=DOUBTFUL, note=f"no {kind} that this pack knows")


def _unreadable(file: Found, ours: bool) -> Found | None:
    """A file without tensors, with what it is; None in another pack's folder where that is not known: it may be a
    pickle that the other pack reads.
    """
    if file.size == 0:
        return replace(file, state=BROKEN, note="empty: a download that never began. Get it again")
    if is_program(file.path):
        return replace(file, title="a program that PyTorch exported", state=DOUBTFUL, note=PROGRAM)
    if found := other_content(file.path):
        return replace(file, state=BROKEN, note=found)
    safe = file.path.suffix.lower() in SAFE_SUFFIXES
    if not ours and not safe:
        return None
    note = f"damaged: a download that stopped, or no model file{'' if safe else MORE_THAN_TENSORS}. Get it again"
    return replace(file, state=BROKEN, note=note)


def _recognised(file: Found, facts: FileFacts) -> Found | None:
    """The file with its title, if its tensors are those of an adapter, encoder, LoRA or OTHER_FILES; None otherwise."""
    if facts.adapter is not None:
        return _adapter(file, facts.adapter)
    if facts.encoder is not None and file.folder in (*ENCODER_FOLDERS, ADAPTER_FOLDER):
        found = replace(file, kind="encoder", title=encoder_title(facts.encoder, file.name), sizes=facts.encoder)
        return found if file.folder in ENCODER_FOLDERS else _elsewhere(found, ENCODER_FOLDER)
    if facts.eva and file.folder in EVA_FOLDERS:
        return replace(file, kind="encoder", title=f"{BY_NAME[EVA].title}, for PuLID")
    if facts.lora_width is not None and (lora := _published_lora(file.name)):
        return _lora(file, lora, facts.lora_width)
    if file.folder in CHECKPOINT_FOLDERS and (base := anime_base_of_file(file.path)) and is_sdxl(file.path):
        title = (
            f"seems to be a {base} model: adapters of SDXL's base model may tile its pictures 2x2, "
            f"the preset {ANIME} is made for it"
        )
        return replace(file, kind="checkpoint", title=title)
    return _other(file, facts)


def _adapter(file: Found, config: AdapterConfig) -> Found:
    found = replace(file, kind="adapter", title=adapter_title(config), config=config)
    if config.lora_fault:
        return replace(found, state=DOUBTFUL, note=f"its LoRA cannot be used: {config.lora_fault}")
    if file.folder not in ADAPTER_FOLDERS:
        return _elsewhere(found, ADAPTER_FOLDER)
    if all(other.lists(file.path) for other in OTHER_FOLDERS if other.name == file.folder):
        return found
    note = "the loaders list files of this folder with 'ip-adapter' in their names only: link it into models/ipadapter"
    return replace(found, state=DOUBTFUL, note=note)


def _lora(file: Found, lora: Published, width: int) -> Found:
    family = FAMILIES[lora.family]
    found = replace(file, kind="lora", title=f"LoRA of {lora.preset} for {family.title}")
    if width != family.text_width:
        return replace(found, state=DOUBTFUL, note=f"called {lora.name}, and made for another family of models")
    return found if file.folder == LORA_FOLDER else _elsewhere(found, LORA_FOLDER)


def _other(file: Found, facts: FileFacts) -> Found | None:
    """A file for another pack or for ComfyUI, with its title; doubtful in the folder of adapters, and in that of
    encoders unless it is an encoder.
    """
    other = facts.other
    if other is None or file.folder not in (*ADAPTER_FOLDERS, ENCODER_FOLDER) or file.folder == "controlnet":
        return None
    found = replace(file, title=other.title + (f", for {other.loader}" if other.loader else ""))
    if file.folder == ADAPTER_FOLDER or (file.folder == ENCODER_FOLDER and not other.encoder):
        return replace(found, state=DOUBTFUL, note="no adapter and no encoder of this pack: its loaders pass it over")
    return found


def _elsewhere(file: Found, right: str) -> Found:
    """A file in a folder that the loaders do not list, with a note: move it, or add its folder to the model paths."""
    if file.folder in COMFYUI_FOLDERS:
        return replace(file, state=DOUBTFUL, note=f"in the wrong folder: move it to models/{right}")
    place = file.path.parent.as_posix()
    note = f"{UNSEARCHED}: add the line '{right}: {place}' to extra_model_paths.yaml"
    return replace(file, state=DOUBTFUL, note=note)


def is_sdxl(path: Path) -> bool:
    """Whether a checkpoint has SDXL's UNet, by its embedding of sizes and pooled text (`label_emb`)."""
    return any(key.endswith("label_emb.0.0.weight") for key in peek(path))


def _published_lora(name: str) -> Published | None:
    return next((lora for lora in LORAS if lora.matches([name])), None)


def adapter_title(config: AdapterConfig) -> str:
    """An adapter's title in reports: its variant and family."""
    family = FAMILIES[config.family].title if config.family in FAMILIES else config.family
    return f"{config.variant} adapter for {family}"


def encoder_title(sizes: EncoderSizes, name: str) -> str:
    """A vision encoder's title in reports: that of the published encoder with these sizes, or the sizes.

    `name` is the file's, which may say that it is another encoder.
    """
    wanted = (sizes.pooled, sizes.hidden, sizes.tokens)
    known = next((file.title for file in ENCODERS if file.sizes == wanted and not file.is_other(name)), None)
    return known or (
        f"vision encoder, pooled {sizes.pooled} and hidden {sizes.hidden} wide, {sizes.tokens} tokens a picture"
    )


def published_as(config: AdapterConfig) -> Published | None:
    """The published adapter with this variant, family and width of embeds; None if none has them."""
    same = (file for file in ADAPTERS if (file.variant, file.family) == (config.variant, config.family))
    return next((file for file in same if file.embed_dim in (None, config.embed_dim)), None)


def with_duplicates(files: Iterable[Found]) -> list[Found]:
    """The files, with a note on each duplicate: an earlier file has the same size and sampled content."""
    first: dict[tuple[int, str], Found] = {}
    noted = []
    files = list(files)
    sizes = [file.size for file in files]
    for file in files:
        if file.kind and file.state == FINE and sizes.count(file.size) > 1:
            key = (file.size, sampled(file.path))
            if key in first and not file.path.samefile(first[key].path):  # a hard link takes no space
                file = replace(file, state=DOUBTFUL, note=f"the same as {first[key].path}: one of them is enough")
            first.setdefault(key, file)
        noted.append(file)
    return noted


def sampled(path: Path) -> str:
    """The SHA-256 of 64 KiB each at a file's start, middle and end."""
    found = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        for place in (0, size // 2, max(0, size - SAMPLE)):
            file.seek(place)
            found.update(file.read(SAMPLE))
    return found.hexdigest()

"""Walk through the model folders and tell what every file in them is."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..ipadapter.catalog import ADAPTERS, ENCODERS, LORAS
from ..ipadapter.config import AdapterConfig
from ..ipadapter.families import FAMILIES
from ..ipadapter.peek import EncoderSizes, Seen, look
from ..ipadapter.published import FOLDERS, Published
from ..ipadapter.search import Room

ADAPTER_ROOM, ENCODER_ROOM, LORA_ROOM = FOLDERS["adapter"], FOLDERS["encoder"], FOLDERS["lora"]
SUFFIXES = (".safetensors", ".sft", ".bin", ".pt", ".pth", ".ckpt")
STRAY_SUFFIXES = (".safetensors", ".sft", ".bin")  # in folders of others, whose pickles are none of ours
ENCODER_FOLDERS = (ENCODER_ROOM, "open_clip", "clip", "text_encoders")  # the last two hold whole CLIPs
SAMPLE = 1 << 16  # bytes at the start, the middle and the end: what tells two files apart without reading them
FINE, DOUBTFUL, BROKEN = "fine", "look at it", "broken"


@dataclass(frozen=True)
class Found:
    """A file, or a face pack's folder: what it is, and what is wrong with it."""

    path: Path
    folder: str  # ComfyUI's name of the model folder that it lies in
    name: str  # below that folder
    size: int = 0
    kind: str = ""  # adapter, encoder, lora, face pack; nothing for what is none of these
    title: str = ""
    state: str = FINE
    note: str = ""
    config: AdapterConfig | None = None
    sizes: EncoderSizes | None = None


def survey(places: Mapping[str, Sequence[Path]]) -> list[Found]:
    """Everything of ours in the model folders, by ComfyUI's names of them, and what lies in our folders and is not.

    A file that several folders reach (links, one folder in another) is told once, from the folder it belongs in.
    """
    ours = [ADAPTER_ROOM, ENCODER_ROOM, LORA_ROOM]
    order = [*ours, *(folder for folder in places if folder not in ours)]
    found: dict[Path, Found] = {}
    for folder in order:
        for path, name in walk(places.get(folder, ()), SUFFIXES if folder in ours else STRAY_SUFFIXES):
            file = examine(path, folder, name)
            if file is not None:
                found.setdefault(path.resolve(), file)
    return with_duplicates(found.values())


def rooms_of(places: Mapping[str, Sequence[Path]]) -> dict[str, Room]:
    """The folders that the loaders search, as they see them: the first of two files of one name counts."""
    rooms = {}
    for folder in (ADAPTER_ROOM, ENCODER_ROOM, LORA_ROOM):
        files: dict[str, Path] = {}
        for path, name in walk(places.get(folder, ()), SUFFIXES):
            if path.is_file():
                files.setdefault(name, path)
        rooms[folder] = Room(list(places.get(folder, ())), files)
    return rooms


def walk(places: Iterable[Path], suffixes: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Paths, and names below their place, of model files: through subfolders and links, each real folder once."""
    for place in places:
        entered: set[str] = set()
        for folder, inner, files in os.walk(place, followlinks=True):
            if (real := os.path.realpath(folder)) in entered:
                inner.clear()  # a link that leads back
                continue
            entered.add(real)
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            for name in sorted(files):
                if name.lower().endswith(tuple(suffixes)) and not name.startswith("._"):
                    path = Path(folder, name)
                    yield path, path.relative_to(place).as_posix()


def examine(path: Path, folder: str, name: str) -> Found | None:
    """What a file is; None for one of somebody else's in somebody else's folder."""
    ours = folder in (ADAPTER_ROOM, ENCODER_ROOM)
    file = Found(path, folder, name)
    if path.is_symlink() and not path.exists():
        return replace(file, state=BROKEN, note=f"a link to {os.readlink(path)}, where nothing is") if ours else None
    if not path.is_file():
        return replace(file, state=BROKEN, note="no file, but a pipe or a device") if ours else None
    file = replace(file, size=path.stat().st_size)
    seen = look(path)
    told = _told(file, seen)
    if told is not None:
        return told
    if not ours:
        return None
    if file.size == 0:
        return replace(file, state=BROKEN, note="empty: a download that never began")
    if seen.tensors == 0:
        return replace(file, state=BROKEN, note="damaged: a download that stopped, a web page, or no model file")
    return replace(file, title="something else", state=DOUBTFUL, note=f"no {_kind_of(folder)} that this pack knows")


def _told(file: Found, seen: Seen) -> Found | None:
    """The file as what its tensors say; None where they say nothing of ours."""
    if seen.adapter is not None:
        found = replace(file, kind="adapter", title=adapter_title(seen.adapter), config=seen.adapter)
        if seen.adapter.lora_fault:
            found = replace(found, state=DOUBTFUL, note=f"its LoRA cannot be used: {seen.adapter.lora_fault}")
        return _in_its_folder(found, (ADAPTER_ROOM,))
    if seen.encoder is not None and (file.folder in ENCODER_FOLDERS or file.folder == ADAPTER_ROOM):
        if file.folder in ("clip", "text_encoders"):
            return None
        found = replace(file, kind="encoder", title=encoder_title(seen.encoder), sizes=seen.encoder)
        return _in_its_folder(found, ENCODER_FOLDERS)
    if seen.lora_width is not None and (lora := _published_lora(file.name)):
        family = FAMILIES[lora.family]
        found = replace(file, kind="lora", title=f"LoRA of {lora.preset} for {family.title}")
        if seen.lora_width != family.text_width:
            found = replace(found, state=DOUBTFUL, note=f"called {lora.name}, and made for another family of models")
        return _in_its_folder(found, (LORA_ROOM,))
    return None


def _in_its_folder(file: Found, right: Sequence[str]) -> Found:
    if file.folder in right:
        return file
    return replace(file, state=DOUBTFUL, note=f"in the wrong folder: move it to models/{right[0]}")


def _kind_of(folder: str) -> str:
    return "adapter" if folder == ADAPTER_ROOM else "vision encoder"


def _published_lora(name: str) -> Published | None:
    return next((lora for lora in LORAS if lora.matches([name])), None)


def adapter_title(config: AdapterConfig) -> str:
    family = FAMILIES[config.family].title if config.family in FAMILIES else config.family
    return f"{config.variant} adapter for {family}"


def encoder_title(sizes: EncoderSizes) -> str:
    wanted = (sizes.pooled, sizes.hidden, sizes.tokens)
    known = next((file.title for file in ENCODERS if file.sizes == wanted), None)
    return known or f"vision encoder, pooled {sizes.pooled} and hidden {sizes.hidden} wide"


def published_as(config: AdapterConfig) -> Published | None:
    """The published adapter that has these tensors, and this name where only names tell."""
    return next(
        (
            file for file in ADAPTERS if (file.variant, file.family) == (config.variant, config.family)
            and file.embed_dim in (None, config.embed_dim)
        ),
        None,
    )  # fmt: skip


def with_duplicates(files: Iterable[Found]) -> list[Found]:
    """The files, with a note on each that has the size and the sampled content of one before it."""
    first: dict[tuple[int, str], Found] = {}
    told = []
    files = list(files)
    sizes = [file.size for file in files]
    for file in files:
        if file.kind and file.state == FINE and sizes.count(file.size) > 1:
            key = (file.size, sampled(file.path))
            if key in first:
                file = replace(file, state=DOUBTFUL, note=f"the same as {first[key].path}: one of them is enough")
            first.setdefault(key, file)
        told.append(file)
    return told


def sampled(path: Path) -> str:
    """A digest of a file's start, middle and end."""
    found = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        for place in (0, size // 2, max(0, size - SAMPLE)):
            file.seek(place)
            found.update(file.read(SAMPLE))
    return found.hexdigest()

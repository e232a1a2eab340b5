"""The record of a published file: its address, its tensors' sizes, the files that it needs. It imports no torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["adapter", "lora", "encoder", "both towers", "face pack", "controlnet", "face parser"]
FOLDERS: dict[Kind, str] = {  # kind of file -> ComfyUI's name of its model folder
    "adapter": "ipadapter", "lora": "loras", "encoder": "clip_vision", "both towers": "open_clip",
    "face pack": "insightface", "controlnet": "controlnet", "face parser": "facexlib",
}  # fmt: skip

NOOBAI_STYLE, ART = "SDXL style at 448 pixels", "IP-Adapter-Art"  # variants with the tensors of the variant SDXL


@dataclass(frozen=True)
class Training:
    """What a variant was trained with, if its tensors do not tell it.

    `side` is that of the training pictures in pixels, if it differs from the vision encoder's own. `unread_encoder`
    names a vision encoder whose file this pack cannot read. `on_anime`: with an anime model, not with SDXL's base.
    """

    side: int | None = None
    unread_encoder: str = ""
    on_anime: bool = False


TRAINED = {
    NOOBAI_STYLE: Training(side=448, on_anime=True),
    ART: Training(unread_encoder="CSD (csd_clip.pth), a ViT-L trained on styles"),
}


@dataclass(frozen=True)
class Source:
    """Where files are published: a repository of huggingface.co, or a release at another `address`."""

    repository: str
    licence: str
    address: str = ""  # start of the files' URLs, for a release outside of huggingface.co

    @property
    def page(self) -> str:
        """The source's web page, without https://."""
        release = self.address.removeprefix("https://").rstrip("/").replace("/download/", "/tag/")
        return release or f"huggingface.co/{self.repository}"

    def __str__(self) -> str:
        return f"{self.page} ({self.licence})"


@dataclass(frozen=True)
class Published:
    """A published file: its source, its usual names on disks, its tensors' sizes, the files that it needs.

    `sha256` and `size` (bytes) come from hashes.py, or are None. A download is compared with them, or else with the
    hub's hash and size of the file.
    """

    name: str  # of the file on the disk; for a face pack, of its folder
    kind: Kind
    source: Source
    path: str = ""  # in the repository or release; "" for files that users must download by hand
    family: str = ""  # of its models: a key of families.FAMILIES
    variant: str = ""  # of an adapter: one of mechanisms.VARIANTS
    embed_dim: int | None = None  # set if a family has two adapters of the same variant
    preset: str = ""  # name in the unified loaders
    encoder: str = ""  # name of its vision encoder's entry
    face_pack: str = ""
    patterns: tuple[str, ...] = ()  # regular expressions of its usual names, the published name first
    title: str = ""  # its name in messages
    good_at: str = ""
    sizes: tuple[int, int, int] | None = None  # of an encoder: width of pooled and of hidden embeds, tokens per picture
    gives: tuple[str, ...] = ()  # of an encoder: the embeds that published adapters take, "pooled" and "hidden"
    others: str = ""  # of an encoder: regular expression of the names of others with its sizes and other weights
    sha256: str | None = None
    size: int | None = None
    where: str = ""  # ComfyUI's name of its model folder, if it differs from FOLDERS
    only_by_name: bool = False  # True: a more common adapter has equal tensors, so only names identify this file
    beside: tuple[str, ...] = ()  # names of files that nodes use with it and unified loaders do not load

    @property
    def folder(self) -> str:
        """ComfyUI's name of its model folder."""
        return self.where or FOLDERS[self.kind]

    @property
    def pickled(self) -> bool:
        """Whether it is published as a pickle (.bin, .pth) only; pickles are read without executing their code."""
        return self.path.endswith((".bin", ".pth"))

    @property
    def url(self) -> str:
        """The URL of its content, on huggingface.co or in the release; "" without a `path`."""
        if not self.path:
            return ""
        return self.source.address + self.path if self.source.address else (
            f"https://huggingface.co/{self.source.repository}/resolve/main/{self.path}"
        )  # fmt: skip

    @property
    def request(self) -> dict[str, Any]:
        """The fields of model_files.remote.Wanted, for its download; the file must have a `path`."""
        zipped = self.kind == "face pack"
        return {
            "name": self.name, "repository": self.source.repository, "path": self.path, "sha256": self.sha256,
            "size": self.size, "address": self.url if self.source.address else "", "pickle_allowed": self.pickled,
            "zipped": zipped,
        }  # fmt: skip

    def is_other(self, name: str) -> bool:
        """Whether a file's name says that it is another encoder of this one's sizes, trained on other pictures."""
        return bool(self.others) and re.search(self.others, name, re.IGNORECASE) is not None

    def matches(self, files: Sequence[str]) -> list[str]:
        """The file names among `files` that match the first of its patterns with any match."""
        for pattern in self.patterns:
            if found := [file for file in files if re.search(pattern, file, re.IGNORECASE)]:
                return found
        return []

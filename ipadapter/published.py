"""The record of a published file: where it is, what its tensors are, what it needs. Plain data, without torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["adapter", "lora", "encoder", "both towers", "face pack"]
FOLDERS: dict[Kind, str] = {  # ComfyUI's name of the model folder a kind of file belongs in
    "adapter": "ipadapter", "lora": "loras", "encoder": "clip_vision", "both towers": "open_clip",
    "face pack": "insightface",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where files are published: a repository of huggingface.co, or the address of a release that is none."""

    repository: str
    licence: str
    address: str = ""  # what file names follow, where it is no repository

    @property
    def page(self) -> str:
        """What a person opens in a browser, without the scheme."""
        release = self.address.removeprefix("https://").rstrip("/").replace("/download/", "/tag/")
        return release or f"huggingface.co/{self.repository}"

    def __str__(self) -> str:
        return f"{self.page} ({self.licence})"


@dataclass(frozen=True)
class Published:
    """A published file: its source, the names it has on disks, what its tensors are, what it needs.

    `sha256` and `size` (bytes) come from hashes.py and stand only where they are known. A download is compared with
    them; without them, with what the hub says of the file.
    """

    name: str  # of the file on disk; of the folder for a face pack
    kind: Kind
    source: Source
    path: str = ""  # in the repository or release; empty where a person has to download the file
    family: str = ""  # of the model it is for: a key of families.FAMILIES
    variant: str = ""  # of an adapter: one of mechanisms.VARIANTS
    embed_dim: int | None = None  # where two adapters of a family are of one variant
    preset: str = ""  # of the unified loaders
    encoder: str = ""  # the file of the vision encoder it takes
    face_pack: str = ""
    patterns: tuple[str, ...] = ()  # regular expressions of its usual names, its published one first
    title: str = ""  # what a person calls it
    good_at: str = ""
    sizes: tuple[int, int, int] | None = None  # of an encoder: width of pooled, of hidden embeds, tokens per picture
    gives: tuple[str, ...] = ()  # of an encoder: which of its embeds the published adapters take
    sha256: str | None = None
    size: int | None = None
    where: str = ""  # ComfyUI's name of its model folder, where that is not the one of its kind
    only_by_name: bool = False  # an adapter that is used more has the same tensors

    @property
    def folder(self) -> str:
        """ComfyUI's name of the folder it belongs in."""
        return self.where or FOLDERS[self.kind]

    @property
    def pickled(self) -> bool:
        """Whether it is published as a pickle only, which is read without executing what is in it."""
        return self.path.endswith(".bin")

    @property
    def url(self) -> str:
        """Where its bytes are, on the hub's own host; empty where there is no address to fetch it from."""
        if not self.path:
            return ""
        return self.source.address + self.path if self.source.address else (
            f"https://huggingface.co/{self.source.repository}/resolve/main/{self.path}"
        )  # fmt: skip

    @property
    def request(self) -> dict[str, Any]:
        """What a download needs to know of it: the fields of model_files' Wanted. Only for files that have a path."""
        zipped = self.kind == "face pack"
        return {
            "name": self.name, "repository": self.source.repository, "path": self.path, "sha256": self.sha256,
            "size": self.size, "address": self.url if self.source.address else "", "pickle_allowed": self.pickled,
            "zipped": zipped,
        }  # fmt: skip

    def matches(self, files: Sequence[str]) -> list[str]:
        """The files that are it by their names, best first: the first pattern with a match counts."""
        for pattern in self.patterns:
            if found := [file for file in files if re.search(pattern, file, re.IGNORECASE)]:
                return found
        return []

"""InstantID's adapter files on disk."""

from pathlib import Path

from ...ipadapter.catalog import BY_NAME
from ...ipadapter.model_folders import ADAPTERS, listed_file, model_folder
from .places import model_places

FOLDER = "instantid"
FACE_PACK = BY_NAME["instantid-ip-adapter.bin"].face_pack  # the pack of the recogniser in InstantID's training


def instantid_files() -> dict[str, Path]:
    """Adapter files by listed name: those in models/instantid, then those of InstantID's name in models/ipadapter."""
    places = model_places()
    own, others = dict(model_folder(places, FOLDER).files), model_folder(places, ADAPTERS).files
    named = BY_NAME["instantid-ip-adapter.bin"].matches(list(others))
    return own | {name: others[name] for name in named if others[name] not in own.values()}


def instantid_path(name: str) -> Path:
    """The path of a listed file; FileNotFoundError names the folders and the repository of the file."""
    if path := listed_file(instantid_files(), name):
        return path
    published = BY_NAME["instantid-ip-adapter.bin"]
    raise FileNotFoundError(
        f"No InstantID adapter {name!r:.80} in models/{FOLDER} or models/{ADAPTERS}. Get {published.path} of "
        f"{published.source} and put it into models/{FOLDER}."
    )

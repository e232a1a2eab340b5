"""Refuse to run in a ComfyUI whose code has changed so that pictures would be wrong."""

from pathlib import Path

import folder_paths

from ..doctor.host import check_host
from ..ipadapter.errors import AdapterError


def refuse_changed_host(structure: str) -> None:
    """AdapterError if ComfyUI lacks a function or hook that image prompts need in models of a structure (its name)."""
    checked = check_host(Path(str(folder_paths.__file__)).parent)
    if gaps := checked.refused(structure):
        raise AdapterError(
            f"ComfyUI {checked.release} has changed what image prompts in this model rely on: "
            f"{'; '.join(map(str, gaps))}. Pictures would be wrong, so none is drawn. Update "
            "ComfyUI-IPAdapter-Atelier, or use the release of ComfyUI that you had before."
        )

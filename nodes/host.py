"""Refuse what a ComfyUI that has changed would draw wrong."""

from pathlib import Path

import folder_paths

from ..doctor.host import check_host
from ..ipadapter.errors import AdapterError


def refuse_changed_host(structure: str) -> None:
    """AdapterError where ComfyUI lacks what image prompts in models of a structure (of ipadapter/sites.py) rely on."""
    checked = check_host(Path(str(folder_paths.__file__)).parent)
    if gaps := checked.refused(structure):
        raise AdapterError(
            f"ComfyUI {checked.release} has changed what image prompts in this model rely on: "
            f"{'; '.join(map(str, gaps))}. Pictures would be wrong, so none is drawn. Update "
            "ComfyUI-IPAdapter-Atelier, or use the release of ComfyUI that you had before."
        )

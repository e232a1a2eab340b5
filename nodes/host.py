"""Refuse to run in a ComfyUI whose code has changed so that pictures would be wrong, and name its known faults."""

from pathlib import Path

import folder_paths

from ..doctor.host import Checked, check_host
from ..ipadapter.errors import AdapterError


def running_host() -> Checked:
    """The check of the ComfyUI that runs."""
    return check_host(Path(str(folder_paths.__file__)).parent)


def known_faults() -> str:
    """The known faults of the running ComfyUI as sentences; empty for most releases."""
    checked = running_host()
    return "".join(f" ComfyUI {checked.release}: {fault}." for fault in checked.faults)


def refuse_changed_host(structure: str) -> None:
    """AdapterError if ComfyUI lacks a function or hook that image prompts need in models of a structure (its name)."""
    checked = running_host()
    if gaps := checked.refused(structure):
        raise AdapterError(
            f"ComfyUI {checked.release} has changed what image prompts in this model rely on: "
            f"{'; '.join(map(str, gaps))}. Pictures would be wrong, so none is drawn. Update "
            "ComfyUI-IPAdapter-Atelier, or use the release of ComfyUI that you had before."
        )

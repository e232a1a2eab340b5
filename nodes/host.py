"""Refuse to run in a ComfyUI whose code has changed so that pictures would be wrong, and name its known faults."""

import logging
import os
from pathlib import Path

import folder_paths

from ..doctor.host import Checked, check_host
from ..ipadapter.errors import AdapterError

log = logging.getLogger(__name__)
UNCHECKED = "ATELIER_ANY_COMFYUI"  # in ComfyUI's environment: draw in a ComfyUI that the check would refuse


def running_host() -> Checked:
    """The check of the ComfyUI that runs."""
    return check_host(Path(str(folder_paths.__file__)).parent)


def known_faults() -> str:
    """The known faults of the running ComfyUI as sentences; empty for most releases."""
    checked = running_host()
    return "".join(f" ComfyUI {checked.release}: {fault}." for fault in checked.faults)


def lacks(lost: str) -> bool:
    """Whether the running ComfyUI lacks what a part of the pack needs; `lost` is that of the needs in the table."""
    return any(gap.need.lost == lost for gap in running_host().gaps)


def refuse_changed_host(what: str, *parts: str) -> None:
    """AdapterError if ComfyUI lacks a function, hook or option without which pictures would be wrong.

    `what` says in the message what relies on them, `parts` are names of the table (Need.refused). Where the user wants
    to try it all the same (UNCHECKED), a warning is logged instead.
    """
    checked = running_host()
    if not (gaps := dict.fromkeys(gap for part in parts for gap in checked.refused(part))):
        return
    found = f"ComfyUI {checked.release} lacks what {what} rely on, or has changed it: {'; '.join(map(str, gaps))}."
    if os.environ.get(UNCHECKED):
        log.warning("%s Pictures may be wrong.", found)
        return
    older = {gap.need.since for gap in gaps if checked.precedes(gap)}
    advice = (
        f"Update ComfyUI to {max(older)} or later"
        if older
        else "Update ComfyUI-IPAdapter-Atelier, or use the release of ComfyUI that you had before"
    )
    raise AdapterError(
        f"{found} Pictures would be wrong, so none is drawn. {advice}. To try it all the same, start ComfyUI with "
        f"{UNCHECKED}=1 in its environment."
    )

"""Notes for the user, shown on the running node, which continues."""

import logging
from collections.abc import Sequence

import comfy_execution.utils  # type: ignore[import-not-found]

from server import PromptServer  # type: ignore[import-not-found]

from ..doctor.host_needs import NOTES
from .host import lacks

log = logging.getLogger(__name__)


def say_notes(notes: Sequence[str], result: str = "") -> None:
    """Show notes on the node that is being executed, one per line, below its result; and write notes to the log."""
    for note in notes:
        log.warning(note)
    if result or notes:
        say_on_node("\n".join([result, *notes] if result else notes))


def say_on_node(text: str) -> None:
    """Show a line under the node that is being executed, in the page that queued the run and in no other.

    Does nothing without such a page, a server or a running node.
    """
    if lacks(NOTES):
        return
    context = comfy_execution.utils.get_executing_context()
    server = getattr(PromptServer, "instance", None)
    if context is not None and server is not None and server.client_id is not None:
        server.send_progress_text(text, context.node_id, server.client_id)

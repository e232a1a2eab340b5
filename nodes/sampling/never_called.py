"""Notice a model that never calls our patches, because another pack has put its own code in the model's place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..notices import say_notes

MESSAGE = (
    "The image prompts of this run had no effect: the model never called them. Another custom node has replaced the "
    "model's own code (its forward function), as some of the nodes for PuLID, TeaCache or other adapters do. "
    "Take those nodes out of this workflow, or apply them to a model of its own."
)


@dataclass(eq=False)
class Run:
    """What one sampling run has shown so far: whether prompts should act, and whether a patch was called."""

    expected: bool = False  # in some model call, a prompt should act
    reached: bool = False  # a patch was called in such a call
    compared: bool = False  # the patches of other packs were compared with ours, once in a run

    @contextmanager
    def watched(self) -> Iterator[None]:
        """One sampling run. At its end, a note says so if prompts should have acted and no patch was called."""
        self.expected = self.reached = self.compared = False
        yield
        if self.expected and not self.reached:
            say_notes([MESSAGE])

    def expect(self, acts: bool) -> None:
        """A model call begins, in which prompts act or do not."""
        self.expected = self.expected or acts

    def say(self, notes: Sequence[str]) -> None:
        """Show what the comparison with other packs' patches gave; notes with names replace the general one."""
        self.compared = True
        say_notes(notes)
        self.reached = self.reached or bool(notes)

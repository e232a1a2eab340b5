"""Notice a model whose blocks never ask our patches: another pack has put its own code in their place."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..notices import say_notes

MESSAGE = (
    "The image prompts of this run had no effect: the model never called them. Another custom node has replaced the "
    "model's own code (its forward function), as some of the nodes for PuLID, TeaCache or other adapters do. "
    "Take those nodes out of this workflow, or apply them to a model of its own."
)


@dataclass(eq=False)
class Watch:
    """Counts, while a model samples, the calls in which prompts should act, and the patches that were asked."""

    wanted: bool = False
    answered: bool = False

    @contextmanager
    def run(self) -> Iterator[None]:
        """One sampling run; says at its end where prompts should have acted and nobody asked for them."""
        self.wanted = self.answered = False
        yield
        if self.wanted and not self.answered:
            say_notes([MESSAGE])

    def asked(self, acts: bool) -> None:
        """A model call begins, in which prompts act or not."""
        self.wanted = self.wanted or acts

    def answer(self) -> None:
        """A patch was called."""
        self.answered = True

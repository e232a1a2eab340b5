"""The state of one sampling run, and its notes for the user, each shown once in a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...ipadapter.image_prompt import Area
from ..host_types import Options
from ..notices import say_notes
from .call import Call
from .patches import KEY

NEVER_CALLED = (
    "The image prompts of this run had no effect: the model never called them. Another custom node has replaced the "
    "model's own code (its forward function), as some of the nodes for PuLID, TeaCache or other adapters do. "
    "Take those nodes out of this workflow, or apply them to a model of its own."
)
UNKNOWN_ROWS = (
    "Another custom node calls the model with {count} rows for {labels} conditionings of {latents} latents, so it is "
    "not known which rows belong to the positive prompt. The image prompts were left out of these calls. Take out the "
    "node that splits the batch (a tiled or a cached sampler, say), or sample one latent at a time."
)
UNKNOWN_FRAMES = (
    "A node samples some of the {batch} latents at a time, and does not say which ones. Image prompts with a picture, "
    "a weight or a mask for each frame were left out of these calls. Take out the node that splits the batch; if it is "
    "ComfyUI's own (context windows), update ComfyUI-IPAdapter-Atelier."
)
TILED_MASK = (
    "A sampler works on parts of the picture, {part} of {canvas} latent pixels, and does not tell where they are. "
    "attn_mask was fitted to each part as if it were the whole picture. Sample without tiles, or without attn_mask."
)

UNUSED_PICTURES = (
    "A reference has {pictures} pictures, one for each latent, and {latents} latents are sampled. Pictures beyond the "
    "last latent are not used: sample as many latents as there are pictures (batch_size of the empty latent)."
)


def tiled_notes(options: Options, call: Call) -> list[str]:
    """Notes about masks if a call covers an unknown part of the canvas or of a conditioning's area; else empty."""
    canvas, part = options.get(KEY, {}).get("canvas"), call.latent
    if canvas is None or part is None:
        return []
    wholes = {_size(area, canvas) for area in call.rows.areas or (None,)}
    if wholes == {part}:
        return []
    return [TILED_MASK.format(part=_text(part), canvas=" or ".join(map(_text, sorted(wholes))))]


def _size(area: Area | None, canvas: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an area, cut at the edges of the canvas; those of the canvas for None."""
    if area is None:
        return canvas
    height, width, top, left = area
    return min(height, canvas[0] - top), min(width, canvas[1] - left)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


@dataclass(eq=False)
class Run:
    """The state of one sampling run: whether prompts should act, whether they did, and the notes that were shown."""

    expected: bool = False  # whether a prompt should act in some model call
    reached: bool = False  # whether a patch of ours was called in such a call
    compared: bool = False  # whether other packs' patches were compared with ours, which happens once in a run
    messages: set[str] = field(default_factory=set)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The context of one sampling run. At its end, a note is shown if prompts should have acted but no patch was
        called.
        """
        self.expected = self.reached = self.compared = False
        self.messages.clear()
        yield
        if self.expected and not self.reached:
            self.say([NEVER_CALLED])

    def say(self, notes: Sequence[str]) -> None:
        """Show notes on the node that samples, each once in a run."""
        say_notes([note for note in notes if note not in self.messages])
        self.messages.update(notes)

"""Record, while a model samples, how much every part of the picture gets from its references."""

from collections.abc import Iterator

from torch import Tensor

from ...charts.attention_map import Seen, image_share
from ...ipadapter.families import Block
from ...ipadapter.image_prompt import POSITIVE, Rows
from ...ipadapter.sites import Layer, Site
from .patches import Shared


class Recorder(Shared):
    """Records the positive rows of the latest sampling run, except rows of conditionings with an area.

    `prompted`: number 0 of the recording are the image prompts, and not an edit model's own references together.
    """

    def __init__(self, blocks: tuple[Block, ...], prompted: bool = True) -> None:
        self.blocks, self.prompted = blocks, prompted
        self.seen: list[Seen] | None = None  # until the first run

    def begin(self) -> None:
        self.seen = []

    def see(self, percent: float, site: Site, grid: tuple[int, int], rows: Rows, text: Tensor, image: Tensor) -> None:
        self.seen = self.seen or []
        for part in positive(rows):
            self.seen.append(Seen(percent, site.layer, rows.indices, image_share(text[part], image[part], grid)))

    def follow(self, percent: float, layer: Layer, grid: tuple[int, int], rows: Rows, shares: Tensor) -> None:
        self.seen = self.seen or []
        for part in positive(rows):
            of_part = shares[part].float().unflatten(1, grid).cpu()
            if not self.prompted:
                self.seen.append(Seen(percent, layer, rows.indices, of_part.sum(-1)))
            for number, share in enumerate(of_part.unbind(-1), 1):
                self.seen.append(Seen(percent, layer, rows.indices, share, number))


def positive(rows: Rows) -> Iterator[slice]:
    """The rows of every positive conditioning without an area."""
    for chunk, branch in enumerate(rows.branches):
        if branch == POSITIVE and not (rows.areas and rows.areas[chunk]):
            yield slice(chunk * rows.frames, (chunk + 1) * rows.frames)

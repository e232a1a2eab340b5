"""Record, while a model samples, which part of every cross-attention's output comes from image prompts."""

from torch import Tensor

from ...charts.attention_map import Seen, image_share
from ...ipadapter.families import Block
from ...ipadapter.image_prompt import POSITIVE, Rows
from ...ipadapter.sites import Site


class Recorder:
    """Records the positive rows of the latest sampling run, except rows of conditionings with an area."""

    def __init__(self, blocks: tuple[Block, ...]) -> None:
        self.blocks = blocks
        self.seen: list[Seen] | None = None  # until the first run

    def begin(self) -> None:
        self.seen = []

    def see(
        self, percent: float, site: Site, grid: tuple[int, int], rows: Rows, text: Tensor, image: Tensor
    ) -> None:
        self.seen = self.seen or []
        for chunk, branch in enumerate(rows.branches):
            if branch == POSITIVE and not (rows.areas and rows.areas[chunk]):
                part = slice(chunk * rows.frames, (chunk + 1) * rows.frames)
                share = image_share(text[part], image[part], grid)
                self.seen.append(Seen(percent, site.layer, rows.indices, share))

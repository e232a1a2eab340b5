"""Look on while a model samples: how much of every cross-attention comes from image prompts."""

from torch import Tensor

from ...charts.attention_map import Seen, image_share
from ...ipadapter.families import Block
from ...ipadapter.image_prompt import POSITIVE
from ...ipadapter.sites import Site
from ...weight_schedules.position import SamplingPosition
from .call import ModelCall


class Recorder:
    """Keeps what the positive rows of the latest sampling run saw; areas and pictures behind them are left out."""

    def __init__(self, position: SamplingPosition, blocks: tuple[Block, ...]) -> None:
        self.position, self.blocks = position, blocks
        self.seen: list[Seen] | None = None  # until the first run

    def begin(self) -> None:
        self.seen = []

    def see(
        self,
        sigma: float,
        site: Site,
        grid: tuple[int, int],
        call: ModelCall,
        text: Tensor,
        image: Tensor,
    ) -> None:
        percent, rows = self.position.percent(sigma), call.rows
        self.seen = self.seen or []
        for chunk, branch in enumerate(rows.branches):
            if branch == POSITIVE and not (rows.areas and rows.areas[chunk]):
                part = slice(chunk * rows.frames, (chunk + 1) * rows.frames)
                share = image_share(text[part], image[part], grid)
                self.seen.append(Seen(percent, site.layer, rows.indices, share))

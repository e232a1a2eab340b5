"""Move keys of a transformer to other positions, by a rotation beside the model's own.

Rotary embeddings add up: the rotation of position i + n is that of i, then that of n.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...ipadapter.joint_models import JointModel
from ...ipadapter.token_attention import rotate
from ..host_types import HostModel

TEXT, COLUMNS = 0, 2  # axes of positions: the first may follow the text, the third are columns


@dataclass(frozen=True, eq=False)
class Positions:
    """The rotations of one model call. In models without rotary embeddings, keys keep their positions."""

    family: JointModel
    network: HostModel
    rotations: dict[tuple[int, float], Tensor] = field(default_factory=dict)

    def to_the_right(self, x: Tensor, columns: float) -> Tensor:
        """Queries or keys (rows, heads, tokens, width), moved to the right by a number of columns."""
        return self._moved(x, COLUMNS, columns) if self.family.positions else x

    def behind_text(self, x: Tensor, tokens: int) -> Tensor:
        """Keys moved behind a number of text tokens; unchanged in models whose positions do not depend on the text."""
        return self._moved(x, TEXT, tokens) if self.family.behind_text else x

    def _moved(self, x: Tensor, axis: int, by: float) -> Tensor:
        if (rotation := self.rotations.get((axis, by))) is None:
            embedder = getattr(self.network, self.family.positions)
            ids = torch.zeros(1, 1, len(embedder.axes_dim), device=x.device)
            ids[..., axis] = by
            rotation = self.rotations[axis, by] = embedder(ids)
        return rotate(x, rotation)

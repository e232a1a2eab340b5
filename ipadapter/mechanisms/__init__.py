"""Every way in which an adapter's attention joins a model's.

To add one, write its file here and put its object into MECHANISMS.
"""

from collections.abc import Mapping

from torch import Tensor

from .attention_output import AttentionOutput
from .block_output import BlockOutput
from .cross_attention import CrossAttention
from .joint_attention import JointAttention
from .mechanism import BlockRun, LayerSizes, Mechanism, Normed
from .pulid import OwnQueries

__all__ = ["CROSS_ATTENTION", "MECHANISMS", "BlockRun", "LayerSizes", "Mechanism", "Normed"]

CROSS_ATTENTION = CrossAttention()
# In the order in which they are tried on a file. A UNet's comes last, because it takes every file.
MECHANISMS: tuple[Mechanism, ...] = (
    JointAttention(), OwnQueries(), BlockOutput(), AttentionOutput(), CROSS_ATTENTION
)  # fmt: skip
VARIANTS: tuple[str, ...] = tuple(variant for mechanism in MECHANISMS for variant in mechanism.variants)


def mechanism_of(layers: Mapping[str, Tensor]) -> Mechanism:
    """The mechanism of a checkpoint, by the names of its layers' tensors."""
    return next(mechanism for mechanism in MECHANISMS if mechanism.fits(layers))


def published_names(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A flat state dict in any known layout as image_proj.* and ip_adapter.<key number>.*; other keys stay."""
    named = dict(flat)
    for mechanism in MECHANISMS:
        named = mechanism.published(named)
    return named

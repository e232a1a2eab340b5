"""The mechanisms: the ways in which an adapter's attention joins a model's.

To add a mechanism, write its file in this folder and add its object to MECHANISMS.
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
# In the order in which `fits` is called for a file. CROSS_ATTENTION comes last, because it fits every file.
MECHANISMS: tuple[Mechanism, ...] = (
    JointAttention(), OwnQueries(), BlockOutput(), AttentionOutput(), CROSS_ATTENTION
)  # fmt: skip
VARIANTS: tuple[str, ...] = tuple(variant for mechanism in MECHANISMS for variant in mechanism.variants)


def mechanism_of(layers: Mapping[str, Tensor]) -> Mechanism:
    """The mechanism of a checkpoint, recognised by the names of its layers' tensors."""
    return next(mechanism for mechanism in MECHANISMS if mechanism.fits(layers))


def published_names(flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A flat state dict of any known layout with keys `image_proj.*` and `ip_adapter.<key number>.*`; others stay."""
    named = dict(flat)
    for mechanism in MECHANISMS:
        named = mechanism.published(named)
    return named

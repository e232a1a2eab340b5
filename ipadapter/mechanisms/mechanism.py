"""A mechanism: how an adapter's attention joins the model's, and all that follows from it.

The base class describes an adapter for a diffusion transformer with one linear layer for keys and one for values per
block. A mechanism overrides what differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor, nn

from ..attention import SCALINGS, Attend, ImageTokens, Pair
from ..matching import match_blocks
from ..projection_sizes import Projection
from ..sites import Block, KeyNumber, Site

if TYPE_CHECKING:
    from ..config import AdapterConfig

Normed = tuple[Tensor, Tensor]  # a tensor (rows, heads, n, head width), and the weight that it was normed with


@dataclass(frozen=True)
class LayerSizes:
    """Widths of an adapter's modules for one site."""

    context: int  # of the tokens that they read
    channels: int  # of keys and values
    head: int  # of a head, where the adapter norms heads itself; else 0
    time: int  # of the time's embedding, where the projection is a resampler; else 0
    model: int  # of the model's picture tokens, where the adapter has queries of its own; else 0


class BlockRun(Protocol):
    """One run of a transformer's block inside a model call, as a mechanism sees it."""

    site: Site

    @property
    def text(self) -> int:
        """How many tokens of text come before those of the picture in q, k, v and the attention's output."""
        ...

    @property
    def queries(self) -> Tensor:
        """Queries of text and picture before their rotation, (rows, heads, n, head width)."""
        ...

    @property
    def attend(self) -> Attend:
        """The host's attention."""
        ...

    def images(self, mechanism: Mechanism, text: int = 0) -> Iterable[ImageTokens]:
        """The image prompts of a mechanism that act in this block, for a sequence that begins with `text` tokens."""
        ...

    def normed(self, q: Tensor, k: Tensor) -> tuple[Normed, Normed]:
        """Queries and keys of the picture, given as (rows, heads, n, head width), with the weights of their norms, by
        which both can be divided.
        """
        ...

    def show(self, before: Tensor, after: Tensor) -> None:
        """Let an observer see what image prompts added, `after` less `before`, (rows, n, channels) each."""
        ...


class Mechanism(ABC):
    """How an adapter's attention joins the model's. It has no state: all adapters share the object in MECHANISMS."""

    name: str
    variants: tuple[str, ...]  # what `label` can give
    parts: tuple[str, ...]  # the parts of a model (sites.Structure) that adapters have weights for
    made_for: str | None = None  # the family (families.FAMILIES) of its adapters; None: by the width of the text
    site = "block"  # what messages call a site
    timed = False  # whether its layers read the time, which only a time resampler gives
    reads_attention = True  # whether it needs the queries of a block's attention, or changes its output
    joins = False  # whether image tokens share an attention with the picture's own, so that values carry no weight
    stretches = False  # whether training stretched pictures that are not square, rather than cut them
    scalings: tuple[str, ...] = tuple(SCALINGS)
    no_picture: Literal["zeros", "black"] | None = None  # what stands for no picture; None: zeros for pooled embeds

    @abstractmethod
    def fits(self, layers: Mapping[str, Tensor]) -> bool:
        """Whether a checkpoint's layers (`<key number>.to_k_ip.weight`...) are of this mechanism."""

    @abstractmethod
    def label(self, config: AdapterConfig) -> str:
        """The variant that the shapes of an adapter say, one of `variants`; `names.variant_by_name` refines it."""

    def published_name(self, key: str) -> str:
        """A key of another layout of the file as `image_proj.*` or `ip_adapter.<key number>.*`; any other key stays."""
        return key

    def published(self, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A flat state dict of another layout of the file with the names that `published_name` gives."""
        return {self.published_name(key): tensor for key, tensor in flat.items()}

    def read_projection(self, projection: Projection) -> Projection:
        """A projection as read from its tensors, with what the mechanism adds to that."""
        return projection

    def family(self, projection: Projection, context_dim: int) -> str:
        """The family of models that an adapter was made for."""
        assert self.made_for is not None
        return self.made_for

    def numbers(self, count: int) -> tuple[KeyNumber, ...]:
        """The key numbers of a checkpoint with weights for `count` sites."""
        return tuple(range(count))

    def head_width(self, layers: Mapping[str, Tensor]) -> int:
        """Width of a head, where the adapter norms heads itself; else 0."""
        return 0

    def model_width(self, layers: Mapping[str, Tensor]) -> int:
        """Width of the model's picture tokens, where the adapter has queries of its own; else 0."""
        return 0

    def acts_in(self, block: Block) -> bool:
        """Whether adapters have weights for a block of `parts`."""
        return True

    def match(self, sites: Sequence[Site], config: AdapterConfig) -> tuple[KeyNumber | None, ...]:
        """The key number for every site in `parts`, None where the adapter does not act; ModelMismatchError where they
        do not line up.
        """
        return match_blocks(sites, dict(zip(config.key_numbers, config.channels, strict=True)))

    def heads(self, channels: int, site: Site) -> int:
        """Heads of the attention to keys and values of so many channels."""
        return site.heads

    def layer(self, sizes: LayerSizes, operations: Any, **where: Any) -> nn.ModuleDict:
        """The modules of one site, named as published."""
        return linears(sizes, operations, **where)

    def keys_values(self, layer: nn.ModuleDict, tokens: Tensor, heads: int, time: Tensor | None) -> Pair:
        """Keys and values (b, t, channels) of tokens (b, t, context); `time` is the embedding of the time, (b, dim)."""
        return layer["to_k_ip"](tokens), layer["to_v_ip"](tokens)

    def norms(self, layer: nn.ModuleDict) -> Pair | None:
        """The weights of the adapter's own norms of queries and keys, (head width,) each."""
        return None

    def in_attention(self, run: BlockRun, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The output of a block's attention, `out` (rows, n, channels), with image prompts.

        q, k and v are those of text and picture, (rows, heads, n, head width).
        """
        return out

    def after_block(self, run: BlockRun, img: Tensor) -> Tensor:
        """What a block gave for the picture, `img` (rows, n, channels), with image prompts."""
        return img


def linears(sizes: LayerSizes, operations: Any, bias: bool = False, **where: Any) -> nn.ModuleDict:
    """The linear layers of keys and of values."""
    parts = ("to_k_ip", "to_v_ip")
    return nn.ModuleDict({part: operations.Linear(sizes.context, sizes.channels, bias=bias, **where) for part in parts})

"""The base classes of mechanisms: the layout of an adapter's files, and how its attention joins the model's.

They describe an adapter for a diffusion transformer with a linear layer for keys and one for values in each block.
Subclasses override the methods in which they differ.
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

Normed = tuple[Tensor, Tensor]  # a normed tensor (rows, heads, n, head width), and the norm's weight (head width,)


@dataclass(frozen=True)
class LayerSizes:
    """The widths of an adapter's modules for one site."""

    context: int  # width of the image tokens
    channels: int  # width of keys and values
    head: int  # width of a head, if the adapter norms heads itself; else 0
    time: int  # width of the timestep's embedding, if the projection is a time resampler; else 0
    model: int  # width of the model's picture tokens, if the adapter has queries of its own; else 0


class BlockRun(Protocol):
    """One run of a transformer's block in a model call: the values and functions that mechanisms use."""

    site: Site

    @property
    def text(self) -> int:
        """The number of text tokens before the picture's in q, k, v and the attention's output."""
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
        """The image prompts of a mechanism that act in this block, for a sequence that begins with `text` tokens of
        text.
        """
        ...

    def normed(self, q: Tensor, k: Tensor) -> tuple[Normed, Normed]:
        """The picture's queries and keys, (rows, heads, n, head width), each with the weight of its norm, which can be
        divided out.
        """
        ...

    def show(self, before: Tensor, after: Tensor) -> None:
        """Report what image prompts added, `after` - `before`, (rows, n, channels), to the observer, if any."""
        ...


class FileLayout(ABC):
    """The layout of the files of adapters with one mechanism: how they are recognised, and which tensors they have."""

    name: str  # of the mechanism
    variants: tuple[str, ...]  # the values that `label` can return
    made_for: str | None = None  # the family (families.FAMILIES) of its adapters; None: it depends on the text's width
    site = "block"  # the word for a site in messages
    timed = False  # whether its layers read the embedding of the timestep, which only a time resampler has

    @abstractmethod
    def fits(self, layers: Mapping[str, Tensor]) -> bool:
        """Whether a checkpoint's layers (`<key number>.to_k_ip.weight`...) are of this mechanism."""

    def label(self, config: AdapterConfig) -> str:
        """The variant of an adapter by its sizes, one of `variants`; `names.variant_by_name` refines it."""
        return self.variants[0]

    def published_name(self, key: str) -> str:
        """A key of another layout, renamed to `image_proj.*` or `ip_adapter.<key number>.*`; other keys stay."""
        return key

    def published(self, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A flat state dict of another layout, with its keys renamed by `published_name`."""
        return {self.published_name(key): tensor for key, tensor in flat.items()}

    def read_projection(self, projection: Projection) -> Projection:
        """A projection as read from its tensors, corrected where the tensors do not determine it."""
        return projection

    def family(self, projection: Projection, context_dim: int) -> str:
        """The family of models that an adapter was made for: a key of `families.FAMILIES`, or "unknown (N wide)"."""
        assert self.made_for is not None
        return self.made_for

    def numbers(self, count: int) -> tuple[KeyNumber, ...]:
        """The key numbers of a checkpoint with weights for `count` sites."""
        return tuple(range(count))

    def head_width(self, layers: Mapping[str, Tensor]) -> int:
        """Width of a head, if the adapter norms heads itself; else 0."""
        return 0

    def model_width(self, layers: Mapping[str, Tensor]) -> int:
        """Width of the model's picture tokens, if the adapter has queries of its own; else 0."""
        return 0


class Mechanism(FileLayout):
    """How an adapter's attention joins the model's. A mechanism has no state: all adapters share it (MECHANISMS)."""

    parts: tuple[str, ...]  # the parts of a model (sites.Structure) that adapters have weights for
    while_sampling: tuple[str, ...] = ()  # names of a layer's modules that act at every step, beside keys and values
    reads_attention = True  # whether it reads the queries of a block's attention, or changes the attention's output
    joins = False  # whether image tokens share an attention with the picture's own, so that values carry no weight
    stretches = False  # whether pictures that are not square were stretched in training; otherwise cropped
    scalings: tuple[str, ...] = tuple(SCALINGS)
    no_picture: Literal["zeros", "black"] | None = None  # default negative; None: zeros for pooled embeds, else black

    def acts_in(self, block: Block) -> bool:
        """Whether adapters have weights for a block of `parts`."""
        return True

    def match(self, sites: Sequence[Site], config: AdapterConfig) -> tuple[KeyNumber | None, ...]:
        """The key number for every site in `parts`, None for sites in which the adapter does not act.

        ModelMismatchError if checkpoint and model do not fit.
        """
        return match_blocks(sites, dict(zip(config.key_numbers, config.channels, strict=True)))

    def heads(self, channels: int, site: Site) -> int:
        """The number of heads for keys and values of this many channels in a site."""
        return site.heads

    def layer(self, sizes: LayerSizes, operations: Any, **where: Any) -> nn.ModuleDict:
        """The adapter's modules of one site, with their published names."""
        return linears(sizes, operations, **where)

    def keys_values(self, layer: nn.ModuleDict, tokens: Tensor, heads: int, time: Tensor | None) -> Pair:
        """Keys and values (b, t, channels) of tokens (b, t, context); `time` is from the timestep, (b, dim)."""
        return layer["to_k_ip"](tokens), layer["to_v_ip"](tokens)

    def norms(self, layer: nn.ModuleDict) -> Pair | None:
        """The weights of the adapter's own norms of queries and keys, (head width,) each; None without such norms."""
        return None

    def in_attention(self, run: BlockRun, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The output of a block's attention, `out` (rows, n, channels), with image prompts.

        q, k and v are those of text and picture, (rows, heads, n, head width).
        """
        return out

    def after_block(self, run: BlockRun, img: Tensor) -> Tensor:
        """The output of a block for the picture, `img` (rows, n, channels), with image prompts."""
        return img


def linears(sizes: LayerSizes, operations: Any, bias: bool = False, **where: Any) -> nn.ModuleDict:
    """The linear layers `to_k_ip` and `to_v_ip`, from `sizes.context` to `sizes.channels`."""
    parts = ("to_k_ip", "to_v_ip")
    return nn.ModuleDict({part: operations.Linear(sizes.context, sizes.channels, bias=bias, **where) for part in parts})

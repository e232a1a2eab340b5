"""The base classes of our patches. This is the lowest module of the folder: the others import it."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from typing_extensions import Self

from ...ipadapter.errors import AdapterError
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.sites import Site
from ..host_types import Options, OtherPatch, OwnOptions, Patches

if TYPE_CHECKING:
    from .hooks import Hooks

KEY = "ipadapter_atelier"  # our entry in transformer_options, and the key of our wrappers, callbacks and attachment
ALIVE: WeakValueDictionary[int, "AttentionPatch"] = WeakValueDictionary()  # by identity, for compiled graphs
_identities = itertools.count(1)


def replacements(options: Options, kind: str) -> Patches:
    """The patches in transformer options that replace parts of a kind, ours and other packs', by ComfyUI's address.

    Kinds are "attn1" and "attn2", the self- and cross-attentions of a UNet, and "dit", the blocks of a transformer.
    """
    return options.get("patches_replace", {}).get(kind, {})


def refuse_recording() -> None:
    """AdapterError while a CUDA graph is recorded: its replay would repeat this step's image prompts in all steps."""
    if torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        raise AdapterError(
            "This model is being recorded as a CUDA graph, which would repeat the image prompts or references of one "
            "step in all others. Sample it without CUDA graphs: switch them off in ComfyUI, or take out the node that "
            "records them."
        )


class Shared:
    """An object in a model's options that a deep copy of the options shares.

    Some packs deep-copy the options of a model or of a call. A copy of ours would copy models, too, and it would do
    nothing for those packs, which change the options and not the objects in them.
    """

    def __deepcopy__(self, copied: object) -> Self:
        return self


class OwnPatch:
    """A patch of ours at one site, which calls the earlier patch of another pack, `before` (None if there is none).

    `prompts` are those that reach the site. Every clone of a model has patch objects of its own, because other packs
    may change the patch that is set already, which would otherwise change every clone.
    """

    def __init__(
        self, site: Site, number: int, hooks: "Hooks", prompts: tuple[ImagePrompt, ...] = (), before: OtherPatch = None
    ) -> None:
        self.site, self.number, self.hooks, self.prompts, self.before = site, number, hooks, prompts, before
        self.key = (number, prompts)  # of its entry in a plan

    def with_prompts(self, hooks: "Hooks", prompts: tuple[ImagePrompt, ...]) -> Self:
        """A patch at the same site, with the same earlier patch, for other prompts."""
        patch = copy(self)
        patch.hooks, patch.prompts, patch.key = hooks, prompts, (self.number, prompts)
        return patch

    def copy(self) -> Self:
        """An equal patch object, for a clone."""
        return self.with_prompts(self.hooks, self.prompts)

    def __deepcopy__(self, copied: object) -> Self:
        return self.copy()

    def to(self, target: object) -> Self:
        """Move the earlier patch to a device or dtype. Our keys and values are moved to the queries' in every call."""
        if hasattr(self.before, "to"):
            self.before = self.before.to(target)
        return self

    def models(self) -> list[Any]:
        """The models that ComfyUI loads for sampling: adapters whose keys and values are computed while sampling."""
        earlier = self.before.models() if hasattr(self.before, "models") else []
        return [*earlier, *(model for prompt in self.prompts for model in prompt.source.models)]

    def cleanup(self) -> None:
        """Called by ComfyUI when sampling has ended; drops keys and values that were computed while sampling."""
        if hasattr(self.before, "cleanup"):
            self.before.cleanup()


class AttentionPatch(OwnPatch, ABC):
    """Replaces one cross-attention. A compiled graph calls it as one operation (see compiled.py)."""

    def __init__(
        self, site: Site, number: int, hooks: "Hooks", prompts: tuple[ImagePrompt, ...] = (), before: OtherPatch = None
    ) -> None:
        super().__init__(site, number, hooks, prompts, before)
        self._register()

    def with_prompts(self, hooks: "Hooks", prompts: tuple[ImagePrompt, ...]) -> Self:
        patch = super().with_prompts(hooks, prompts)
        patch._register()
        return patch

    def _register(self) -> None:
        self.identity = next(_identities)
        ALIVE[self.identity] = self

    @abstractmethod
    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        """The output of the cross-attention, (rows, tokens, channels) like the projected queries."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        if not torch.compiler.is_compiling():
            return self.attend(q, k, v, options)
        height, width = options["activations_shape"][-2:]
        precision = options.get("attn_precision")
        return torch.ops.ipadapter_atelier.attend(
            q, k, v, self.number, self.identity, options["n_heads"], height, width, precision
        )


@dataclass(frozen=True, eq=False)
class SelfAttentionPatch(Shared):
    """Replaces one self-attention in one model call; `before` is the earlier patch (None if there is none).

    `attend_at` computes the attention with references. A compiled graph calls the patch as one operation (see
    compiled.py).
    """

    site: Site
    number: int  # of the site
    attend_at: Callable[["SelfAttentionPatch", Tensor, Tensor, Tensor, OwnOptions], Tensor]
    before: OtherPatch

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        """The output of the self-attention, (rows, tokens, channels) like the projected queries."""
        return self.attend_at(self, q, k, v, options)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: OwnOptions) -> Tensor:
        if not torch.compiler.is_compiling():
            return self.attend(q, k, v, options)
        height, width = options["activations_shape"][-2:]
        precision = options.get("attn_precision")
        return torch.ops.ipadapter_atelier.look(q, k, v, self.number, options["n_heads"], height, width, precision)

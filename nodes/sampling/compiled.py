"""Let compiled UNets follow image prompts: every cross-attention is one operation that Python answers while it runs.

ComfyUI's TorchCompileModel drops the guards on `transformer_options`. Whatever tracing reads there is frozen into the
graph, and a graph of a model without image prompts would serve one with them, or the other way round. So the graph only
holds the number of the cross-attention; prompts, weights and options are looked up in the model call under way; and a
keyword of that call says which cross-attentions are patched, because guards on keywords are kept.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...ipadapter.cache import serial
from ...ipadapter.sites import Site
from .replaced import OwnPatch

NAME = "ipadapter_atelier"
_HOST_WRAPPER = "torch.compile"  # the key of TorchCompileModel's wrapper
_identities = itertools.count(1)


class AttentionPatch(OwnPatch, ABC):
    """Replaces one cross-attention, called by the model or by a compiled graph of it."""

    def __init__(self, site: Site, number: int) -> None:
        self.site, self.number, self.identity = site, number, next(_identities)
        _alive[self.identity] = self

    @abstractmethod
    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """What the cross-attention gives, (rows, tokens, channels) like the projected q."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        if not torch.compiler.is_compiling():
            return self.attend(q, k, v, options)
        height, width = options["activations_shape"][-2:]
        precision = options.get("attn_precision")
        return _attend(q, k, v, self.number, self.identity, options["n_heads"], height, width, precision)


_alive: WeakValueDictionary[int, AttentionPatch] = WeakValueDictionary()


@dataclass(frozen=True)
class _Running:
    options: Mapping[str, Any]
    patches: Mapping[int, AttentionPatch]  # by the number of their cross-attention


_running: ContextVar[_Running | None] = ContextVar("running", default=None)


@contextmanager
def serving_graphs(options: Mapping[str, Any]) -> Iterator[None]:
    """Answer the operations of compiled graphs with the patches in these options."""
    patches = _patches(options).values()
    ours = {patch.number: patch for patch in patches if isinstance(patch, AttentionPatch)}
    token = _running.set(_Running(options, ours))
    try:
        yield
    finally:
        _running.reset(token)


def is_compiled(model: Any, options: Mapping[str, Any]) -> bool:
    """Whether this model call goes to a graph made by torch.compile."""
    wrappers = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    return _HOST_WRAPPER in wrappers or hasattr(model.diffusion_model, "_orig_mod")


def patched_everywhere(options: Mapping[str, Any], idle: Sequence[AttentionPatch]) -> dict[str, Any]:
    """Options that have a patch on every cross-attention, so that one graph serves prompts in other layers too."""
    present = _patches(options)
    added = {
        patch.site.address: patch
        for patch in idle
        if patch.site.address not in present and patch.site.block not in present
    }
    return {**options, "patches_replace": {**options.get("patches_replace", {}), "attn2": {**present, **added}}}


def graph_keyword(options: Mapping[str, Any]) -> str:
    """A keyword for the model call that differs where another graph is needed, which is where foreign patches do, and
    where other blocks of a transformer are replaced.
    """
    marks = [
        (str(address), serial(patch))
        for address, patch in _patches(options).items()
        if not isinstance(patch, AttentionPatch)
    ]
    blocks = sorted(str(key) for key in options.get("patches_replace", {}).get("dit", {}))
    return f"{NAME} {sorted(marks)} {blocks}"


def with_empty_place(model: Any, control: Any) -> Any:
    """What a ControlNet gives a model call, told apart for SD3.5, whose model takes keywords and never looks at them.

    What is not read has no guard. It reads how many places ControlNet's outputs have, and an empty one adds nothing.
    Image prompts reach all of its blocks, so that one graph serves them all.
    """
    if not hasattr(model.diffusion_model, "joint_blocks"):
        return control
    given = control or {}
    return {**given, "output": [*given.get("output", []), None]}


def _patches(options: Mapping[str, Any]) -> Mapping[Any, Any]:
    return options.get("patches_replace", {}).get("attn2", {})


# A CUDA graph would replay the K/V and weights of the call it was recorded in. Older torch has no such tag, nor tags.
_TAGS: dict[str, Any] = {"tags": [torch.Tag.cudagraph_unsafe]} if hasattr(torch.Tag, "cudagraph_unsafe") else {}


@torch.library.custom_op(
    f"{NAME}::attend",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, int number, int identity, int heads, SymInt height, SymInt width, "
    "ScalarType? precision) -> Tensor",
    **_TAGS,
)
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    number: int,
    identity: int,
    heads: int,
    height: int,
    width: int,
    precision: torch.dtype | None,
) -> Tensor:
    running = _running.get()
    patch = running.patches.get(number, _alive.get(identity)) if running else None  # a foreign patch may call ours
    if running is None or patch is None:
        raise RuntimeError(
            "A compiled model with image prompts was called around ComfyUI's apply_model, so that nobody could say "
            "which prompts act. Sample it with a ComfyUI sampler, or without torch.compile."
        )
    options = {
        **running.options,
        "block": patch.site.block,
        "block_index": patch.site.position,
        "transformer_index": patch.site.layer,
        "activations_shape": [len(q), q.shape[-1], height, width],
        "n_heads": heads,
        "dim_head": q.shape[-1] // heads,
        "attn_precision": precision,
    }
    return patch.attend(q, k, v, options).contiguous()


@_attend.register_fake
def _like_queries(q: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(q)

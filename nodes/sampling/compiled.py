"""Image prompts in compiled models: in a UNet, each patched attention is one custom operation, which runs in Python.

ComfyUI's TorchCompileModel drops the guards on `transformer_options`, so all that tracing reads there becomes constant
in the graph, and the graph of a model without image prompts would also run for a model with them. Therefore the graph
holds only the number of the cross-attention; the operation reads prompts, weights and options from the current model
call. A keyword argument of that call names the patched cross-attentions, because guards on keywords are not dropped.

Where a graph breaks, torch.compile traces the functions behind the break one by one, and guards only what each of them
reads. None of them reads the keyword, so calls whose graphs break run without graphs (`safe_graphs`).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import comfy.ldm.modules.attention as host_attention
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...ipadapter.cache import serial
from ...ipadapter.errors import AdapterError
from ...ipadapter.sites import Site
from ..host_types import Conds, HostModel, Options, OwnOptions
from .patches import ALIVE, KEY, AttentionPatch, SelfAttentionPatch, replacements

try:  # the key of TorchCompileModel's wrapper
    from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
except ImportError:  # a ComfyUI that keeps it elsewhere: every call is prepared as a graph needs it
    COMPILE_KEY = None
# ComfyUI's attentions that break no graph
WHOLE_GRAPH = [getattr(host_attention, name, None) for name in ("attention_pytorch", "attention_flash")]
PLAIN_CONDS = frozenset({"y", "guidance"})  # conditionings that no transformer reads behind a graph break


class _Running:
    """The current model call: its transformer options, and our patches in them by the number of their site."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @cached_property
    def patches(self) -> dict[int, AttentionPatch]:
        patches = replacements(self.options, "attn2").values()
        return {patch.number: patch for patch in patches if isinstance(patch, AttentionPatch)}

    @cached_property
    def self_attentions(self) -> dict[int, SelfAttentionPatch]:
        patches = replacements(self.options, "attn1").values()
        return {patch.number: patch for patch in patches if isinstance(patch, SelfAttentionPatch)}

    def options_at(
        self, site: Site, q: Tensor, heads: int, height: int, width: int, precision: torch.dtype | None
    ) -> OwnOptions:
        """The `extra_options` that ComfyUI passes to a patch at a site."""
        return {
            **self.options,
            "block": site.block,
            "block_index": site.position,
            "transformer_index": site.layer,
            "activations_shape": [len(q), q.shape[-1], height, width],
            "n_heads": heads,
            "dim_head": q.shape[-1] // heads,
            "attn_precision": precision,
        }


_running: ContextVar[_Running | None] = ContextVar("running", default=None)


@contextmanager
def serving_graphs(options: Options) -> Iterator[None]:
    """Make these options the current ones, so that operations of compiled graphs run the patches in them."""
    token = _running.set(_Running(options))
    try:
        yield
    finally:
        _running.reset(token)


def is_compiled(model: HostModel, options: Options) -> bool:
    """Whether this model call runs a graph made by torch.compile; True if that is unknown."""
    wrappers = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    return COMPILE_KEY is None or COMPILE_KEY in wrappers or hasattr(model.diffusion_model, "_orig_mod")


def patched_everywhere(options: Options, idle: Sequence[AttentionPatch]) -> OwnOptions:
    """A copy of the options with a patch on every cross-attention (one of `idle` where there is none yet), so that one
    graph serves prompts in whatever layers they act.
    """
    present = replacements(options, "attn2")
    added = {
        patch.site.address: patch
        for patch in idle
        if patch.site.address not in present and patch.site.block not in present
    }
    return {**options, "patches_replace": {**options.get("patches_replace", {}), "attn2": {**present, **added}}}


def graph_keyword(options: Options) -> str:
    """The name of a keyword argument for the model call, different for every graph that is needed.

    It depends on other packs' patches, on whether there are image prompts, and on which blocks of a transformer and
    which self-attentions are replaced.
    """
    patches = replacements(options, "attn2")
    ours = {address: isinstance(patch, AttentionPatch) for address, patch in patches.items()}
    marks = [(str(address), serial(patch)) for address, patch in patches.items() if not ours[address]]
    blocks = sorted(str(key) for kind in ("dit", "attn1") for key in replacements(options, kind))
    prompts = any(ours.values())
    return f"{KEY} {prompts} {sorted(marks)} {blocks}"


def with_empty_output(model: HostModel, control: Conds) -> Conds:
    """The ControlNet outputs of a model call; for SD3.5 with one more output, which is None.

    SD3.5 never reads the keyword of `graph_keyword`, and torch.compile has guards only for values that are read. The
    model does read the number of ControlNet outputs, so one more output forces a graph that a model without image
    prompts does not use; an output of None adds no residual. Image prompts reach all blocks of SD3.5, so one such graph
    serves all prompts.
    """
    if not hasattr(model.diffusion_model, "joint_blocks"):
        return control
    given = control or {}
    return {**given, "output": [*given.get("output", []), None]}


def safe_graphs(
    model: HostModel, options: Options, conds: OwnOptions, overrides: bool = False
) -> AbstractContextManager[Any]:
    """A context for one model call. A compiled model runs without its graphs in it if a wrong graph could be used.

    No guard distinguishes graphs with and without an attention override (`overrides`); a transformer's graphs with and
    without conditionings beside text, pooled text and guidance, such as references, which its forward reads where the
    graph breaks; and the graphs of the blocks of a UNet whose attention breaks graphs.
    """
    if hasattr(model.diffusion_model, "input_blocks"):
        breaks = host_attention.optimized_attention not in WHOLE_GRAPH
    else:
        breaks = not PLAIN_CONDS.issuperset(name for name in conds if not name.startswith(KEY))
    return uncompiled() if (overrides or breaks) and is_compiled(model, options) else nullcontext()


def uncompiled() -> AbstractContextManager[Any]:
    """A context in which compiled models run without their graphs. AdapterError if this PyTorch has no such context."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    if set_stance is None:
        raise AdapterError(
            "Image prompts or references make this compiled model run without its graphs, which needs PyTorch 2.6 or "
            f"newer; this is {torch.__version__}. Take TorchCompileModel out of this workflow, or update PyTorch."
        )
    return set_stance("force_eager")


# Without the tag, a CUDA graph would replay the K/V and weights of the call that it recorded. Older torch has no tags.
_TAGS: OwnOptions = {"tags": [torch.Tag.cudagraph_unsafe]} if hasattr(torch.Tag, "cudagraph_unsafe") else {}


@torch.library.custom_op(
    f"{KEY}::attend",
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
    # Where another pack's patch calls ours, the options hold the pack's patch, and ALIVE gives ours by its identity.
    patch = running.patches.get(number, ALIVE.get(identity)) if running else None
    if running is None or patch is None:
        raise RuntimeError(
            "A compiled model with image prompts was called around ComfyUI's apply_model, so it is not known which "
            "prompts act. Sample it with a ComfyUI sampler, or without torch.compile."
        )
    options = running.options_at(patch.site, q, heads, height, width, precision)
    return patch.attend(q, k, v, options).contiguous()


@_attend.register_fake
def _like_queries(q: Tensor, *_: object) -> Tensor:
    return torch.empty_like(q)


@torch.library.custom_op(
    f"{KEY}::look",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, int number, int heads, SymInt height, SymInt width, ScalarType? precision) "
    "-> Tensor",
    **_TAGS,
)
def _look(
    q: Tensor, k: Tensor, v: Tensor, number: int, heads: int, height: int, width: int, precision: torch.dtype | None
) -> Tensor:
    running = _running.get()
    if running is None or number not in running.self_attentions:
        raise RuntimeError(
            "A compiled model with a riding reference was called around ComfyUI's apply_model, so it is not known what "
            "acts. Sample it with a ComfyUI sampler, or without torch.compile."
        )
    patch = running.self_attentions[number]
    options = running.options_at(patch.site, q, heads, height, width, precision)
    # The patch may store keys and values, whose memory the graph reuses: so it gets copies.
    return patch.attend(q, k.clone(), v.clone(), options).contiguous()


_look.register_fake(_like_queries)

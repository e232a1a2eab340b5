"""The attention functions for image prompts, and the base class of our own attention overrides.

An attention override is ComfyUI's hook around attentions: a function in the transformer options that is called in place
of every attention.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import comfy.ldm.modules.attention as host_attention
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ...ipadapter.attention import Attend
from ...ipadapter.sequences import layer_number
from ..host_types import Options, OwnOptions
from .patches import Shared, refuse_recording
from .riders import ModelCall

OVERRIDE = "optimized_attention_override"
PREFERRED = "preferred_attention"  # the keyword of an attention for the kernel that a checkpoint names for its layer


class OwnOverride(Shared, ABC):
    """A rider's override of the self-attentions in some layers, for one model call.

    It calls the earlier override of the call's options, if there is one, and knows nothing of image prompts: their
    attentions call other packs' overrides alone.
    """

    def __init__(self, call: ModelCall, layers: Iterable[int]) -> None:
        self.network, self.before, self.layers = call.model.diffusion_model, call.options.get(OVERRIDE), set(layers)

    def __call__(
        self,
        function: Callable[..., Tensor],
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """The output of an attention of the model, (b, tokens, channels)."""
        refuse_recording()
        if PREFERRED in more:
            own = partial(self.with_preference, function)
        else:
            own = function if self.before is None else partial(self.before, function)
        layer = layer_number(self.network, more.get("transformer_options") or {})
        if layer not in self.layers:
            return own(q, k, v, heads, mask, **more)
        return self.attend(own, layer, q, k, v, heads, mask, more)

    def with_preference(
        self, function: Callable[..., Tensor], *given: object, transformer_options: OwnOptions,
        _inside_attn_wrapper: bool = True, **more: object,
    ) -> Tensor:  # fmt: skip
        """The attention without this override, of a layer that prefers a kernel (ComfyUI 0.32 and later).

        When the options have an override, the host does not choose the kernel. So it is called once more with options
        that have the earlier override or none, and chooses the kernel then.
        """
        options = {**transformer_options, OVERRIDE: self.before}
        if self.before is None:
            del options[OVERRIDE]
        return getattr(host_attention, function.__name__, function)(*given, **more, transformer_options=options)

    @abstractmethod
    def attend(
        self,
        own: Callable[..., Tensor],
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor | None,
        more: OwnOptions,
    ) -> Tensor:
        """The output of an attention in one of the layers; `own` is the attention without this override, and `more`
        its keywords.
        """


def biased_attention(more: OwnOptions) -> Callable[..., Tensor]:
    """The host's attention that can add a bias to the logits, with these keywords of another attention: PyTorch's,
    which calls no override and follows no preference of a layer.
    """
    more = {**more, "_inside_attn_wrapper": True}
    more.pop(PREFERRED, None)
    return partial(host_attention.attention_pytorch, **more)


# ComfyUI's other backends limit the memory of long keys, or quantise keys to 8 bits. Neither is worth its cost for an
# image prompt, which has few keys.
few_tokens: Attend = scaled_dot_product_attention


def overridden(options: Options) -> Attend:
    """The attention for image prompts with these transformer options: the host's, which calls another pack's override,
    or `few_tokens` if the options have no override but ours.
    """
    override = options[OVERRIDE]
    while isinstance(override, OwnOverride):
        override = override.before
    if override is None:
        return few_tokens
    options = {**options, OVERRIDE: override}

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return host_attention.attention_pytorch(
            q, k, v, q.shape[1], skip_reshape=True, skip_output_reshape=True, transformer_options=options
        )

    return attend

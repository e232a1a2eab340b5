"""The patch of a UNet's cross-attention: the text attention plus the attention of every image prompt."""

from collections.abc import Callable
from typing import Any

import comfy.ldm.modules.attention as host_attention
from torch import Tensor

from ...ipadapter.attention import add_image_attention, at_weight, fold_queries, image_attention
from ...ipadapter.image_prompt import ImagePrompt, Rows, arrange
from ...ipadapter.layers import CrossAttention
from .call import KEY, Decider, ModelCall
from .compiled import AttentionPatch

Patch = Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]


class TextAttention(AttentionPatch):
    """Stands in a compiled graph where no image prompt reaches, so that one graph serves all weights."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        return text_attention(q, k, v, options)


class ImagePromptPatch(AttentionPatch):
    """Replaces one cross-attention: the text attention (or whatever patch was there before) plus the attention of
    every image prompt.
    """

    def __init__(
        self,
        attention: CrossAttention,
        number: int,
        decider: Decider,
        prompts: tuple[ImagePrompt, ...],
        before: Patch | None = None,
        added: tuple[tuple[Callable[..., Tensor], dict[str, Any]], ...] = (),
    ) -> None:
        super().__init__(attention, number)
        self.decider, self.prompts, self.before, self.added = decider, prompts, before, added

    def attend(self, q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        """The text attention plus that of the image prompts, as decided for this model call."""
        out = self.before(q, k, v, options) if self.before is not None else text_attention(q, k, v, options)
        grid = tuple(options["activations_shape"][-2:])
        # The temporal attention of video models has other tokens, and no image to look at.
        if q.shape[1] == grid[0] * grid[1]:
            call = self.decider.call_for(self.prompts, options, len(q))
            text, out = out, self._image_attentions(out, q, call, grid, options)
            if observer := options.get(KEY, {}).get("observer"):
                observer.see(float(options["sigmas"][0]), self.attention, grid, call, text, out - text)
        for callback, arguments in self.added:
            if arguments["sigma_end"] <= float(options["sigmas"][0]) <= arguments["sigma_start"]:
                out = out + callback(out, q, k, v, options, **arguments)
        return out

    def _image_attentions(
        self, out: Tensor, q: Tensor, call: ModelCall, grid: tuple[int, int], options: dict[str, Any]
    ) -> Tensor:
        queries: dict[int, Tensor] = {}
        for prompt in self.prompts:
            weights = call.weights[prompt]
            if weights is None or weights[self.attention.layer] == 0:
                continue
            keys, values = self._keys_values(prompt, call.rows, weights[self.attention.layer], q)
            groups = len(keys)
            if groups not in queries:
                queries[groups] = fold_queries(q, groups, self.attention.heads)
            image = image_attention(queries[groups], keys, values, _attend(options), q.shape)
            out = add_image_attention(out, image, self.decider.gain(prompt, self.attention.layer, call.rows, grid, q))
        return out

    def _keys_values(self, prompt: ImagePrompt, rows: Rows, weight: float, q: Tensor) -> tuple[Tensor, Tensor]:
        if prompt.constant:
            return self._arranged(prompt, rows, weight, q)
        return at_weight(self._arranged(prompt, rows, 0.0, q), self._arranged(prompt, rows, 1.0, q), weight)

    def _arranged(self, prompt: ImagePrompt, rows: Rows, weight: float, q: Tensor) -> tuple[Tensor, Tensor]:
        def make() -> tuple[Tensor, Tensor]:
            k, v = arrange(prompt, self.number, self.attention.layer, rows, self.attention.heads, weight)
            return k.to(q), v.to(q)

        frames = rows.indices if prompt.rows_differ else None
        return self.decider.keep((prompt, self.number, q.device, q.dtype, rows.roles, frames, weight), make)

    def add(self, callback: Callable[..., Tensor], **arguments: Any) -> None:
        """Stack another pack's attention callback, in the way such packs call it on whatever patch they find."""
        self.added = (*self.added, (callback, arguments))

    def copy(self) -> "ImagePromptPatch":
        return ImagePromptPatch(self.attention, self.number, self.decider, self.prompts, self.before, self.added)

    def to(self, target: object) -> "ImagePromptPatch":
        """K/V follow q at every call, so there is nothing to move; a patch before this one may have something."""
        if hasattr(self.before, "to"):
            self.before = self.before.to(target)  # type: ignore[union-attr]
        return self

    def models(self) -> list[Any]:
        """What ComfyUI must load for sampling: adapters only where K/V are computed on the way."""
        inner = self.before.models() if hasattr(self.before, "models") else []  # type: ignore[union-attr]
        return [*inner, *(model for prompt in self.prompts for model in prompt.models)]

    def cleanup(self) -> None:
        if hasattr(self.before, "cleanup"):
            self.before.cleanup()  # type: ignore[union-attr]


def text_attention(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
    """The attention that ComfyUI itself computes where no patch is, with its precision, backend and overrides."""
    return host_attention.optimized_attention(
        q, k, v, options["n_heads"], attn_precision=options.get("attn_precision"), transformer_options=options
    )


def _attend(options: dict[str, Any]) -> Callable[[Tensor, Tensor, Tensor, int], Tensor]:
    """The host's backend. Sub-quadratic and split attention bound the memory of long keys; for a few image tokens
    plain SDPA does better.
    """
    backend = host_attention.optimized_attention
    if backend in (host_attention.attention_sub_quad, host_attention.attention_split, host_attention.attention_basic):
        backend = host_attention.attention_pytorch
    precision = options.get("attn_precision")
    return lambda q, k, v, heads: backend(
        q,
        k,
        v,
        heads,
        attn_precision=precision,
        skip_reshape=True,
        skip_output_reshape=True,
        transformer_options=options,
    )

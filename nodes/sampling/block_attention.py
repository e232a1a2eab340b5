"""What a block of a transformer is run with, so that image prompts get into its attention: Flux's, and SD3.5's.

ComfyUI hands an attention override everything but where it is; a block's own options say that, and nothing that other
blocks see is changed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ...ipadapter.block_layers import JOINT_EPS, unit_heads
from ...ipadapter.errors import AdapterError
from ...ipadapter.image_prompt import ImagePrompt
from ...ipadapter.joint_attention import Normed, add_image_tokens, add_joint_tokens, can_renorm, rotate_back
from ...ipadapter.sites import Site
from .arranged import Grid
from .backend import attend_of
from .plan import Plan

OVERRIDE, QUERIES = "optimized_attention_override", "attn1_patch"


class Place(Protocol):
    """Where prompts act: a block of a model."""

    site: Site
    number: int
    module: Any
    renorms: bool  # whether its norms of queries and keys can be divided out of their outputs


class BlockAttention:
    """One run of a block with image prompts in its attention."""

    def __init__(self, place: Any, prompts: Sequence[ImagePrompt], plan: Plan, args: Mapping[str, Any]) -> None:
        self.place, self.prompts, self.plan, self.args = place, prompts, plan, args
        self.given: Mapping[str, Any] = args["transformer_options"]
        self.observer = plan.observer

    @property
    def options(self) -> dict[str, Any]:
        """The block's options, with our part around whatever overrides its attention already."""
        return {**self.given, OVERRIDE: self.override}

    def override(self, function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, *args, **kwargs) -> Tensor:
        """The block's attention, as it would be without us, and what image prompts add to it."""
        before = self.given.get(OVERRIDE)
        out = before(function, q, k, v, *args, **kwargs) if before is not None else function(q, k, v, *args, **kwargs)
        return self.attention(out, q, k, v)

    def attention(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise NotImplementedError

    def after_block(self, img: Tensor) -> Tensor:
        """What the block gave for the picture, and what image prompts add behind it."""
        return img

    def images(self, prompts: Sequence[ImagePrompt], like: Tensor, before: int, rows: int):
        """What acts, in a sequence of `before` tokens of text and `rows` of the picture and its references."""
        grid = self.grid(prompts, rows)
        around = (before, rows - grid[0] * grid[1])
        return self.plan.images(self.place, tuple(prompts), grid, like, around)

    def grid(self, prompts: Sequence[ImagePrompt], rows: int) -> Grid:
        """Rows and columns of the picture's own tokens."""
        if self.plan.call.latent is None:
            if any(prompt.mask is not None for prompt in prompts):
                raise AdapterError(
                    "A mask needs the size of the picture, and this model was called around ComfyUI's apply_model, "
                    "which knows it. Sample with a ComfyUI sampler, or without attn_mask."
                )
            return rows, 1
        height, width = self.plan.call.latent
        patch = self.place.site.patch
        return -(-height // patch), -(-width // patch)

    def show(self, before: Tensor, after: Tensor) -> None:
        """Let an observer see what image prompts added to the picture's own tokens, (rows, tokens, channels) each."""
        if self.observer is not None and self.plan.call.latent is not None:
            height, width = self.grid((), before.shape[1])
            own, added = before[:, : height * width], (after - before)[:, : height * width]
            sigma = float(self.given["sigmas"][0])
            self.plan.observe(sigma, self.place.site, (height, width), own, added)


class FluxAttention(BlockAttention):
    """InstantX' adapter joins the attention's output, of all rows in a single block; XLabs' joins the block's output.

    Queries count as they are before their rotation. Releases of ComfyUI that do not show those get them by rotating
    back what the attention is given.
    """

    queries: Tensor | None = None  # (rows, heads, text and picture, width), not rotated
    plain: Tensor | None = None  # what the attention gave the picture, for an observer

    @property
    def options(self) -> dict[str, Any]:
        patches = self.given.get("patches", {})
        ours = {QUERIES: [*patches.get(QUERIES, []), self.see_queries]}
        return {**super().options, "patches": {**patches, **ours}}

    def see_queries(self, q: Tensor, k: Tensor, v: Tensor, **more: Any) -> dict[str, Any]:
        self.queries = q
        return {}

    @property
    def text(self) -> int:
        """Tokens of text in front of the picture's."""
        return self.args["txt"].shape[1] if "txt" in self.args else self.given["img_slice"][0]

    def attention(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.queries is None:
            self.queries = q if self.args["pe"] is None else rotate_back(q, self.args["pe"])
        inside = [prompt for prompt in self.prompts if prompt.mechanism == "attention output"]
        text, rows = self.text, q.shape[2] - self.text
        self.plain = out[:, text:] if self.observer is not None else None
        if not inside:
            return out
        attend = attend_of(self.given)
        if self.place.site.block[0] == "single":
            added = add_image_tokens(out, self.queries, self.images(inside, q, text, rows), attend)
        else:
            image = self.images(inside, q, 0, rows)
            added = add_image_tokens(out[:, text:], self.queries[:, :, text:], image, attend)
            added = torch.cat((out[:, :text], added), dim=1)
        if self.observer is not None:
            self.show(out[:, text:], added[:, text:])
        return added

    def after_block(self, img: Tensor) -> Tensor:
        behind = [prompt for prompt in self.prompts if prompt.mechanism == "block output"]
        if not behind or self.queries is None:
            return img
        q = self.queries[:, :, self.text :]
        out = add_image_tokens(img, q, self.images(behind, q, 0, img.shape[1]), attend_of(self.given))
        if self.plain is not None:
            self.show(self.plain, self.plain + (out - img))
        return out


class JointAttention(BlockAttention):
    """SD3.5's: the picture attends to itself and to the image tokens once more, with the adapter's norms."""

    done = False

    def attention(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.done:
            return out  # the blocks of SD3.5 Medium attend a second time
        self.done = True
        text, heads = self.args["txt"].shape[1], self.place.site.heads
        own_q, own_k, own_v = (_of_heads(x[:, text:], heads) for x in (q, k, v))
        if self.place.renorms:
            norms = self.place.module.x_block.attn
            queries, keys = (own_q, norms.ln_q.weight), (own_k, norms.ln_k.weight)
        else:
            queries, keys = raw_queries_keys(self.place.module.x_block, self.args["img"], self.args["vec"], heads)
        images = self.images(self.prompts, q, 0, own_q.shape[2])
        plain = out[:, text:]
        added = add_joint_tokens(plain, queries, keys, own_v, images, attend_of(self.given))
        self.show(plain, added)
        return torch.cat((out[:, :text], added), dim=1)


def renorms(module: Any) -> bool:
    """Whether a joint block's norms of queries and keys can be divided out; of any other block, True."""
    if not hasattr(module, "x_block"):
        return True
    weights = [getattr(norm, "weight", None) for norm in (module.x_block.attn.ln_q, module.x_block.attn.ln_k)]
    return all(weight is not None and can_renorm(weight) for weight in weights)


def raw_queries_keys(block: Any, img: Tensor, vec: Tensor, heads: int) -> tuple[Normed, Normed]:
    """Queries and keys of the picture in a joint block, divided by their root mean square only: computed once more,
    where the block's own norm cannot be divided out.
    """
    shift, scale = block.adaLN_modulation(vec)[:, : 2 * img.shape[-1]].unsqueeze(1).chunk(2, dim=-1)
    q, k, _ = block.attn.qkv(block.norm1(img) * (1 + scale) + shift).chunk(3, dim=-1)
    ones = torch.ones(q.shape[-1] // heads, device=q.device)
    queries, keys = ((unit_heads(_of_heads(x, heads), JOINT_EPS), ones) for x in (q, k))
    return queries, keys


def _of_heads(x: Tensor, heads: int) -> Tensor:
    """(rows, n, channels), or with its heads apart already, as (rows, heads, n, head width)."""
    return (x.unflatten(-1, (heads, -1)) if x.ndim == 3 else x).transpose(1, 2)

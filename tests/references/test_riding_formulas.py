"""What a picture's rows get of riding references, by formulas written out: a share of every self-attention.

With the share s of a reference and A the attention to its keys alone, *swap* gives own + s (A - own). *Compete* gives
softmax(q kᵀ / √D + log w) v with w = 1 - s for the picture's keys and s for the reference's. Shares of several
references are divided by their sum where it is above 1. AdaIN moves queries, and keys that compete, towards mean and
deviation of the references' (Visual Style Prompting, arXiv:2402.12974; StyleAligned, arXiv:2312.02133).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from comfy.ldm.modules.attention import SpatialTransformer
from torch import Tensor
from torch.nn.functional import interpolate

from harness.in_process import conditioning
from identity.formulas import denoised
from pack.nodes.applying.riding import Looks, ride_along
from pack.nodes.sampling.riding import noise_at
from performance.rig import Rig
from test_nodes_pack.standins import seeded

MODEL = Rig("sd15").bare()  # no test changes it: that would show in the others
SIGMA, CFG, SHAPE, NEGATIVE = 3.7, 3.0, (2, 4, 8, 8), 20
SOFT = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(3))
QKV = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Reference:
    """A reference and its settings; without a text of its own it is seen with the negative one."""

    seed: int = 11
    size: tuple[int, int] = (8, 8)
    weight: float = 1.0
    mask: Tensor | None = None
    negative: float = 1.0
    text: int = NEGATIVE

    @property
    def latent(self) -> Tensor:
        return seeded((1, 4, *self.size), self.seed)

    def share(self, grid: Sequence[int], branch: int) -> Tensor:
        """The share that it asks for, (1, tokens, 1)."""
        mask = torch.ones(1, 8, 8) if self.mask is None else self.mask
        on_tokens = interpolate(mask.unsqueeze(1), tuple(grid), mode="bilinear").flatten(2).transpose(1, 2)
        return self.weight * on_tokens * (self.negative if branch == NEGATIVE else 1.0)


def ridden(references: Sequence[Reference], competes: bool, match: float, model: Any = MODEL) -> Any:
    for one in references:
        looks = Looks(one.weight, "all", 0, 1, one.mask, None, competes, match, one.negative)
        text = None if one.text == NEGATIVE else conditioning(one.text)
        model = ride_along(model, {"samples": one.latent}, text, looks)
    return model


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, weights: Tensor) -> Tensor:
    """softmax(q kᵀ / √D + log weights) v; weights (1, rows or 1, keys), which rounding takes below 0."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    logits = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + weights.clamp(min=0).log().unsqueeze(1)
    return (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)


def moved(x: Tensor, references: Sequence[Tensor], match: float) -> Tensor:
    """x (rows, tokens, channels), moved by `match` towards the mean of the references' means and deviations."""
    mean, deviation = (sum(part) / len(references) for part in zip(*map(moments, references), strict=True))
    own, spread = moments(x)
    return x + match * ((x - own) / (spread + 1e-5) * deviation + mean - x)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(1, keepdim=True), x.std(1, keepdim=True, unbiased=False)


def looked(own: QKV, heads: int, kept: Sequence[QKV], shares: list[Tensor], competes: bool, match: float) -> Tensor:
    """The output of a self-attention of the picture with references, (rows, tokens, channels)."""
    q, k, v = own
    plain = attention(q, k, v, heads, torch.ones(1, 1, 1))
    total = torch.stack(shares).sum(0).clamp(min=1)
    shares = [share / total for share in shares]
    seen = [tuple(x.expand(len(q), -1, -1) for x in one) for one in kept]
    q = moved(q, [one[0] for one in kept], match)
    if not competes:
        alone = [attention(q, of[1], of[2], heads, torch.ones(1, 1, 1)) for of in seen]
        return plain + sum(share * (one - plain) for share, one in zip(shares, alone, strict=True))
    k = moved(k, [one[1] for one in kept], match)
    weights = [1 - torch.stack(shares).sum(0), *shares]
    columns = [weight.expand(-1, -1, x[1].shape[1]) for weight, x in zip(weights, (own, *kept), strict=True)]
    keys, values = torch.cat([k, *(of[1] for of in seen)], 1), torch.cat([v, *(of[2] for of in seen)], 1)
    return attention(q, keys, values, heads, torch.cat(columns, 2))


def run(x: Tensor, text: int, attend: Callable[..., Tensor]) -> Tensor:
    """The model's own prediction, with `attend(address, q, k, v, options)` in place of every self-attention."""
    unet, patches = MODEL.model.diffusion_model, {}  # whose blocks have one transformer layer each
    for part, blocks in (("input", unet.input_blocks), ("middle", [unet.middle_block]), ("output", unet.output_blocks)):
        for number, block in enumerate(blocks):
            if any(isinstance(module, SpatialTransformer) for module in block.modules()):
                address = part, number
                patches[address] = lambda q, k, v, options, address=address: attend(address, (q, k, v), options)
    context = conditioning(text)[0][0].expand(len(x), -1, -1)
    options = {"patches_replace": {"attn1": patches}}
    sigmas = torch.full((len(x),), SIGMA)
    return MODEL.model.apply_model(x, sigmas, c_crossattn=context, transformer_options=options)


@torch.inference_mode()
def published(references: Sequence[Reference], competes: bool, match: float) -> Tensor:
    kept: list[dict[Any, QKV]] = []
    for one in references:
        latent = MODEL.model.process_latent_in(one.latent)
        states: dict[Any, QKV] = {}

        def keep(address: Any, own: QKV, options: Any, states: Any = states) -> Tensor:
            states[address] = own
            return attention(*own, options["n_heads"], torch.ones(1, 1, 1))

        run(latent + SIGMA * noise_at(SIGMA, latent), one.text, keep)
        kept.append(states)

    def predicted(branch: int) -> Tensor:
        def attend(address: Any, own: QKV, options: Any) -> Tensor:
            shares = [one.share(options["activations_shape"][-2:], branch) for one in references]
            return looked(own, options["n_heads"], [of[address] for of in kept], shares, competes, match)

        return run(seeded(SHAPE, 5) * SIGMA, branch, attend)

    positive, negative = predicted(10), predicted(NEGATIVE)
    return negative + CFG * (positive - negative)


CASES: dict[str, tuple[float, tuple[Reference, ...]]] = {  # how far the moments match, and the references
    "a share": (0.0, (Reference(weight=0.6),)),
    "more than all, in a mask": (0.4, (Reference(weight=0.7, mask=SOFT), Reference(12, (4, 12), 0.8))),
    "less in negative rows, seen with a text": (0.0, (Reference(weight=0.7, negative=0.4, text=30),)),
}


@pytest.mark.parametrize("competes", [False, True], ids=["swap", "compete"])
@pytest.mark.parametrize("title", CASES)
def test_a_prediction_with_references_is_that_of_the_formulas(title, competes):
    match, references = CASES[title]
    texts = [conditioning(10), conditioning(NEGATIVE)]
    _, found = denoised(ridden(references, competes, match), texts, SIGMA, seeded(SHAPE, 5), CFG)
    expected = published(references, competes, match)
    # Float32 through all layers and the guidance.
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_reference_by_halves_of_either_method_is_the_whole():
    left = torch.zeros(1, 8, 8)
    left[..., :4] = 1
    halves = {
        "of its share": (Reference(weight=0.5), Reference(weight=0.5)),
        "of the picture": (Reference(mask=left), Reference(mask=1 - left)),
    }
    texts, noise = [conditioning(10), conditioning(NEGATIVE)], seeded(SHAPE, 5)
    whole = denoised(ridden([Reference()], False, 0.0), texts, SIGMA, noise, CFG)[1]
    for title, (swapped, competing) in halves.items():
        model = ridden([competing], True, 0.0, ridden([swapped], False, 0.0))
        found = denoised(model, texts, SIGMA, noise, CFG)[1]
        assert (found - whole).abs().max() <= 1e-5 * whole.abs().max(), title

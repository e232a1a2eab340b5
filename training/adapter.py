"""Train an adapter on the frozen models (arXiv:2308.06721, section 3.2): a picture is drawn from its words, and from
another picture in the same style.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, scaled_dot_product_attention

from demo_models.config import CONTEXT, VISION
from ipadapter.adapter import AdapterNetwork
from ipadapter.attention import ImageTokens, decoupled_attention, split_heads
from ipadapter.config import AdapterConfig
from ipadapter.matching import checkpoint_order, match_keys
from ipadapter.projection_sizes import Projection
from ipadapter.resampler import ResamplerSizes
from ipadapter.sites import Site, find_sites
from masks.grid import mask_on_grid

from .loop import Curve, Plan, mixed, pick, train, train_rounds
from .unet import Denoiser, Noise, word_numbers

NO_IMAGE, NO_TEXT, NEITHER = 0.05, 0.05, 0.05  # shares without image, word, both, as in the paper

HIDDEN, POOLED = VISION["hidden_size"], VISION["projection_dim"]
assert isinstance(HIDDEN, int) and isinstance(POOLED, int)


@dataclass(frozen=True)
class Round:
    """A part of the training; `split` is the share of pictures in two styles, with a mask for each reference."""

    plan: Plan
    split: float


ROUNDS = (
    Round(Plan(steps=3000, batch=64, rate=3e-3, seed=4, average=0.995), split=0.35),
    Round(Plan(steps=800, batch=64, rate=2e-3, seed=5, average=0.995), split=0.5),
)
PROJECTIONS = {
    "standard": Projection("standard", token_dim=CONTEXT, tokens=4, embed_dim=POOLED),
    "plus": Projection(
        "plus", token_dim=CONTEXT, tokens=16, embed_dim=HIDDEN,
        resampler=ResamplerSizes(embed_dim=HIDDEN, dim=CONTEXT, out_dim=CONTEXT, inner=4 * CONTEXT, heads=1, depth=2),
    ),
}  # fmt: skip


def new_adapter(variant: str, attentions: Sequence[Site]) -> AdapterNetwork:
    """An adapter with new weights. `to_v_ip` is zero, so that the untrained adapter does not change the picture."""
    channels = tuple(attention.channels for attention in checkpoint_order(attentions))
    numbers = tuple(range(1, 2 * len(channels), 2))
    family = f"unknown ({CONTEXT} wide)"
    config = AdapterConfig(variant, family, PROJECTIONS[variant], CONTEXT, numbers, channels, False, False)
    adapter = AdapterNetwork(config)
    for name, parameter in adapter.named_parameters():
        parameter.requires_grad_(True)
        if name.endswith("to_v_ip.weight"):
            nn.init.zeros_(parameter)
        elif name.endswith("latents"):
            nn.init.normal_(parameter, std=CONTEXT**-0.5)
    return adapter


@dataclass
class Reference:
    """References of the last rows of a batch: features (rows, ...), or their tokens, and masks (rows, h, w)."""

    shown: Tensor
    masks: Tensor


class Shown:
    """Image attention in every cross-attention of a UNet, from the references of one batch."""

    def __init__(self, adapter: AdapterNetwork, attentions: Sequence[Site]) -> None:
        self.adapter = adapter
        numbers = match_keys(attentions, dict(zip(adapter.config.key_numbers, adapter.config.channels, strict=True)))
        hooks = {a.address: self._hook(number) for a, number in zip(attentions, numbers, strict=True)}
        self.options = {"patches_replace": {"attn2": hooks}}
        self.references: list[Reference] = []  # of tokens

    def _hook(self, number: int) -> Callable[[Tensor, Tensor, Tensor, dict[str, Any]], Tensor]:
        def attend(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
            heads = options["n_heads"]
            queries, keys, values = split_heads(q, heads), split_heads(k, heads), split_heads(v, heads)
            out = attend_to(queries, keys, values).transpose(1, 2).flatten(2)
            side = round(q.shape[1] ** 0.5)
            for one in self.references:
                rest = len(q) - len(one.shown)
                keys, values = (split_heads(x, heads) for x in self.adapter.keys_values(one.shown, number))
                image = ImageTokens(keys, values, mask_on_grid(one.masks, (side, side)))
                seen = decoupled_attention(out[rest:], q[rest:], [image], attend_to)
                out = seen if rest == 0 else torch.cat((out[:rest], seen))
            return out

        return attend


def attend_to(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled_dot_product_attention(q, k.to(q), v.to(q))


class Examples:
    """Batches for an adapter, from pictures in a single style and from pictures in two styles."""

    def __init__(self, whole: dict[str, Tensor], split: dict[str, Tensor], features: Tensor, nothing: Tensor) -> None:
        self.whole, self.split, self.features, self.nothing = whole, split, features, nothing

    def draw(self, count: int, split: float, generator: torch.Generator) -> tuple[Tensor, Tensor, list[Reference]]:
        """Latents, words and two references: the first for all rows, the second for the rows in two styles, which come
        last.

        A third of the pictures in two styles have their first reference only.
        """
        rows, parts = self._pick(count, split, generator)
        halves = len(parts)
        latents, words = self._pictures(rows, parts)
        first, second = self.split["pairs"][parts].unbind(-1)
        where = self.split["where"][parts].float()
        whole = torch.ones(count - halves, *where.shape[1:])
        one = (torch.rand(halves, generator=generator) < 1 / 3)[:, None, None]
        return (
            latents,
            words,
            [
                Reference(self.features[torch.cat((rows, first))].float(), torch.cat((whole, where))),
                Reference(self.features[second].float(), (1 - where) * ~one),
            ],
        )

    def plain(self, count: int, split: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents and words of pictures without a reference."""
        return self._pictures(*self._pick(count, split, generator))

    def _pick(self, count: int, split: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        halves = round(count * split)
        rows = pick(len(self.whole["words"]), count - halves, generator)
        return rows, pick(len(self.split["words"]), halves, generator)

    def _pictures(self, rows: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        latents = torch.cat((self.whole["latents"][rows], self.split["latents"][parts])).float()
        return latents, torch.cat((self.whole["words"][rows], self.split["words"][parts]))


def drop(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Whether each picture's image is dropped, and whether its word is dropped, (count,) each."""
    chance = torch.rand(count, generator=generator)
    no_image = (chance < NO_IMAGE) | (chance > 1 - NEITHER)
    return no_image, ((chance >= NO_IMAGE) & (chance < NO_IMAGE + NO_TEXT)) | (chance > 1 - NEITHER)


def project(adapter: AdapterNetwork, reference: Reference, dropped: Tensor, nothing: Tensor, device: str) -> Reference:
    """A reference's tokens; for dropped pictures the tokens of the features `nothing`."""
    features = reference.shown
    gone = dropped[-len(features) :].view(-1, *[1] * (features.ndim - 1))
    seen = torch.where(gone, nothing.float(), features).to(device)
    return Reference(adapter.project(seen), reference.masks.to(device))


def train_adapter(
    variant: str,
    denoiser: Denoiser,
    examples: Examples,
    rounds: Sequence[Round] = ROUNDS,
    device: str = "cpu",
    checkpoint: Path | None = None,
) -> tuple[AdapterNetwork, Curve]:
    """An adapter for the frozen denoiser."""
    torch.manual_seed(rounds[0].plan.seed)
    adapter = new_adapter(variant, find_sites(denoiser.unet)).to(device)
    name, denoiser = f"adapter ({variant})", denoiser.to(device)

    def learn(one: Round, file: Path | None) -> Curve:
        return train_round(adapter, denoiser, examples, one, device, name, file)

    return adapter, train_rounds(name, rounds, learn, checkpoint)


def train_round(
    adapter: AdapterNetwork,
    denoiser: Denoiser,
    examples: Examples,
    one: Round,
    device: str,
    name: str,
    checkpoint: Path | None = None,
) -> Curve:
    """Train an adapter for a round, in place."""
    denoiser.requires_grad_(False).eval()
    shown, noise, plan = Shown(adapter, find_sites(denoiser.unet)), Noise(), one.plan

    def loss(generator: torch.Generator) -> Tensor:
        latents, words, references = examples.draw(plan.batch, one.split, generator)
        noised, wanted, steps = noise.add(latents, generator, noisy=True)  # where colours are decided
        no_image, no_text = drop(plan.batch, generator)
        with mixed(device):
            nothing = examples.nothing
            shown.references = [project(adapter, each, no_image, nothing, device) for each in references]
            tokens = denoiser.words(word_numbers(words, no_text).to(device))
            predicted = denoiser.unet(
                noised.to(device), steps.float().to(device), tokens, transformer_options=shown.options.copy()
            )
        return mse_loss(predicted.float(), wanted.to(device))

    return train(name, adapter, plan, loss, checkpoint)

"""The stages of the training in their order; each stage reads the files of earlier stages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from demo_models.autoencoder import PATCH, Autoencoder
from demo_models.config import SIZE
from demo_models.words import WORDS
from ipadapter.sites import find_sites

from . import adapter, autoencoder, critics, data, judges, together, unet, vision, whole
from .data import Drawn, Halves, as_floats
from .files import read, save
from .lessons import Critics, lessons_of
from .loop import Curve, Plan
from .more_textures import MORE_TEXTURES
from .textures import TEXTURES

SPLIT_SHARE = 0.75  # pictures in two styles, per style
ADAPTERS = {"standard": "ip-adapter_demo.safetensors", "plus": "ip-adapter-plus_demo.safetensors"}


@dataclass
class Workshop:
    """The folder of the models, and the pictures for training, which are drawn when they are first needed."""

    output: Path
    scale: float = 1.0
    device: str = "cpu"
    checkpoints: Path | None = None  # folder from which interrupted stages continue; None: they start again
    many: bool = False  # more styles, with many more textures

    def checkpoint(self, stage: str) -> Path | None:
        return self.checkpoints / f"{stage}.pt" if self.checkpoints else None

    def forget(self, stage: str) -> None:
        """Delete the checkpoints of a finished stage, so that its next run starts again."""
        for file in self.checkpoints.glob(f"{stage}*.pt") if self.checkpoints else ():
            file.unlink()

    @cached_property
    def with_many_textures(self) -> "Workshop":
        """This workshop with many more textures; both stages that need them share its pictures."""
        return replace(self, many=True)

    @property
    def styles(self) -> int:
        return max(64, round((data.MANY_STYLES if self.many else data.STYLES) * self.scale))

    def plan(self, plan: Plan) -> Plan:
        """The plan scaled by `scale`, with a batch size that fits a small set of pictures."""
        return replace(plan, steps=max(2, round(plan.steps * self.scale)), batch=min(plan.batch, self.styles // 8))

    @cached_property
    def drawn(self) -> Drawn:
        return data.draw_many(self.styles) if self.many else data.draw_data(self.styles)

    @cached_property
    def halves(self) -> Halves:
        return data.draw_split(self.drawn, round(len(self.drawn) * SPLIT_SHARE))

    @cached_property
    def pictures(self) -> Tensor:
        return torch.cat((self.drawn.pictures, self.drawn.others, self.halves.pictures))

    @cached_property
    def words(self) -> Tensor:
        return torch.cat((self.drawn.words, self.drawn.other_words, self.halves.words))

    @cached_property
    def latents(self) -> Tensor:
        """The latents of `pictures`, (n, 8, 12, 12) in half precision."""
        model = Autoencoder()
        model.load_state_dict(read(self.output / "vae.safetensors"))
        return in_chunks(self.pictures, lambda rows: model.to(self.device).encode(as_floats(rows.to(self.device))))


@torch.no_grad()
def in_chunks(rows: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([run(chunk).half().cpu() for chunk in rows.split(256)])


def train_autoencoder(shop: Workshop) -> Curve:
    plan, checkpoint = shop.plan(autoencoder.PLAN), shop.checkpoint("autoencoder")
    model, curve = autoencoder.train_autoencoder(shop.pictures, plan, shop.device, checkpoint)
    save(shop.output / "vae.safetensors", model.state_dict(), "autoencoder", autoencoder.PLAN.seed)
    return curve


def train_vision(shop: Workshop) -> Curve:
    model, curve = vision.train_vision(shop.drawn, shop.plan(vision.PLAN), shop.device, shop.checkpoint("vision"))
    weights = {key: value for key, value in model.vision.state_dict().items() if not key.endswith("position_ids")}
    save(shop.output / "vision.safetensors", weights, "vision encoder", vision.PLAN.seed)
    return curve


def train_unet(shop: Workshop) -> Curve:
    plan, checkpoint = shop.plan(unet.PLAN), shop.checkpoint("unet")
    model, curve = unet.train_unet(shop.latents, shop.words, plan, shop.device, checkpoint)
    save(shop.output / "unet.safetensors", model.state_dict(), "UNet and word vectors", unet.PLAN.seed)
    return curve


def train_adapter(shop: Workshop, variant: str) -> Curve:
    denoiser = unet.Denoiser()
    denoiser.load_state_dict(read(shop.output / "unet.safetensors"))
    rounds = [replace(one, plan=shop.plan(one.plan)) for one in adapter.ROUNDS]
    lessons, checkpoint = examples(shop, variant), shop.checkpoint(variant)
    model, curve = adapter.train_adapter(variant, denoiser, lessons, rounds, shop.device, checkpoint)
    save(shop.output / ADAPTERS[variant], model.state_dict(), f"IP-Adapter, {variant}", rounds[0].plan.seed)
    return curve


def train_together(
    shop: Workshop, stage: str = "together", rounds: Sequence[together.Round] = together.ROUNDS
) -> Curve:
    """Continue the training of the UNet, the words and both adapters; their files are overwritten."""
    trio = read_trio(shop)
    lessons = {name: examples(shop, name) for name in ADAPTERS}
    planned = [replace(one, plan=shop.plan(one.plan)) for one in rounds]
    curve = together.train_together(trio, lessons, planned, shop.device, shop.checkpoint(stage), stage)
    save_trio(shop, trio, rounds[0].plan.seed)
    return curve


def read_trio(shop: Workshop) -> together.Trio:
    denoiser = unet.Denoiser()
    denoiser.load_state_dict(read(shop.output / "unet.safetensors"))
    adapters = {name: read_adapter(shop.output / file, name, denoiser) for name, file in ADAPTERS.items()}
    return together.Trio(denoiser, **adapters)


def save_trio(shop: Workshop, trio: together.Trio, seed: int) -> None:
    save(shop.output / "unet.safetensors", trio.denoiser.state_dict(), "UNet and word vectors", seed, many=shop.many)
    for name, file in ADAPTERS.items():
        save(shop.output / file, getattr(trio, name).state_dict(), f"IP-Adapter, {name}", seed, many=shop.many)


def train_many(shop: Workshop) -> Curve:
    """As `train_together`, on pictures of many more textures."""
    return train_together(shop.with_many_textures, "many textures", together.MANY_ROUNDS)


def train_whole(shop: Workshop) -> Curve:
    """Train the UNet, the words and both adapters on whole drawings, with the loss of `lessons.compare`."""
    many = shop.with_many_textures
    names = [*TEXTURES, *MORE_TEXTURES]
    kinds = torch.tensor([names.index(name) for name in many.drawn.styles.textures])
    autoencoder = Autoencoder()
    autoencoder.load_state_dict(read(shop.output / "vae.safetensors"))
    trained_critics = train_critics(shop, names, autoencoder)
    shown = {name: examples(many, name) for name in ADAPTERS}
    lessons = lessons_of(shown, kinds, trained_critics, many.drawn.pictures, many.drawn.others)
    trio, plan = read_trio(shop), shop.plan(whole.PLAN)
    curve = whole.train_whole(trio, lessons, autoencoder, plan, shop.device, shop.checkpoint("whole drawings"))
    save_trio(many, trio, whole.PLAN.seed)
    return curve


def train_critics(shop: Workshop, names: Sequence[str], autoencoder: Autoencoder) -> Critics:
    """Critics of textures and of words, which only `train_whole` needs."""

    def train_critic(seed: int, pictures: Tensor, answers: Tensor, kinds: int) -> judges.Classifier:
        rounds = [replace(one, plan=shop.plan(one.plan)) for one in critics.rounds(seed)]
        checkpoint = shop.checkpoint(f"whole drawings, critic {seed}")
        return critics.train_critic(pictures, answers, kinds, autoencoder, rounds, shop.device, checkpoint)[0]

    count, drawn = max(64, round(12000 * shop.scale)), shop.with_many_textures.drawn
    seeds = critics.TEXTURE_SEEDS
    return Critics(
        [train_critic(one, *data.draw_textures(names, count, data.MANY_SEED + one), len(names)) for one in seeds],
        [train_critic(seed, drawn.pictures, drawn.words, len(WORDS)) for seed in critics.WORD_SEEDS],
    )


def read_adapter(file: Path, variant: str, denoiser: unet.Denoiser) -> Any:
    model = adapter.new_adapter(variant, find_sites(denoiser.unet))
    model.load_state_dict(read(file))
    return model


def examples(shop: Workshop, variant: str) -> adapter.Examples:
    """Latents and words of the pictures to draw, and the features of each style's other picture, the reference."""
    encoder = vision.new_encoder()
    encoder.load_state_dict(read(shop.output / "vision.safetensors"), strict=False)
    encoder.to(shop.device).eval()

    def see(pictures: Tensor) -> Tensor:
        out: Any = encoder(vision.normalise(pictures.to(shop.device) / 255), output_hidden_states=True)
        return out.image_embeds if variant == "standard" else out.hidden_states[-2]

    features = in_chunks(shop.drawn.others, see)
    nothing = (
        torch.zeros_like(features[0]) if variant == "standard" else in_chunks(torch.zeros(1, 3, SIZE, SIZE), see)[0]
    )
    whole, split = len(shop.drawn), shop.halves
    where = interpolate(split.where[:, None].float(), scale_factor=1 / PATCH, mode="area")[:, 0]
    return adapter.Examples(
        {"latents": shop.latents[:whole], "words": shop.drawn.words},
        {"latents": shop.latents[2 * whole :], "words": split.words, "pairs": split.pairs, "where": where},
        features,
        nothing,
    )


def train_classifier(shop: Workshop) -> Curve:
    plan, checkpoint = shop.plan(judges.PLAN), shop.checkpoint("classifier")
    model, curve = judges.train_classifier(shop.pictures, shop.words, plan, shop.device, checkpoint)
    save(shop.output / "classifier.safetensors", model.state_dict(), "classifier of contents", judges.PLAN.seed)
    return curve


def train_textures(shop: Workshop) -> Curve:
    names, plan = judges.ALL_TEXTURES, judges.TEXTURES_PLAN
    pictures, answers = data.draw_textures(names, max(64, round(data.STYLES * shop.scale / 2)), data.SEED + 3)
    checkpoint, name = shop.checkpoint("textures"), "classifier (textures)"
    model, curve = judges.train_classifier(
        pictures, answers, shop.plan(plan), shop.device, checkpoint, name, len(names)
    )
    held_out = f"the palettes of seed {data.HELD_OUT_SEED}"
    save(shop.output / "textures.safetensors", model.state_dict(), "classifier of textures", plan.seed, held_out)
    return curve


STAGES: dict[str, Callable[[Workshop], Curve]] = {
    "autoencoder": train_autoencoder,
    "vision": train_vision,
    "unet": train_unet,
    "standard": lambda shop: train_adapter(shop, "standard"),
    "plus": lambda shop: train_adapter(shop, "plus"),
    "classifier": train_classifier,
    "textures": train_textures,
    "together": train_together,
    "many textures": train_many,
    "whole drawings": train_whole,
}

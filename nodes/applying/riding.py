"""From the inputs of IPAdapter Reference Attention, which are checked here, to a model with a riding reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.ldm.modules.diffusionmodules.openaimodel as host_unet
import comfy.sampler_helpers
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...ipadapter.checks import check_weight, is_finite
from ...ipadapter.errors import AdapterError, ModelMismatchError
from ...ipadapter.joint_models import NAMES, JointModel, in_features, joint_model_of
from ...ipadapter.sites import UNET, Block, Site, find_sites, layer_blocks
from ...ipadapter.weights import Weights
from ...weight_schedules.layers import LayerWeights
from ...weight_schedules.schedule import Schedule, of_layers
from ..host_types import Conds, HostModel, Options
from ..sampling.attach import original_model
from ..sampling.riding import (
    JointAttentions,
    RidingReference,
    SelfAttentions,
    Text,
    UNetAttentions,
    attach_reference,
)
from .apply import check_range, checked_mask, note_black_masks

UNETS = "SD1.5, SD2, SDXL, Kolors and their relatives"
SMALLER = " Factors of Rescale and Layer Sweep multiply it too: with weight 1, write factors such as 0.5, 1."
SUPPORTED = f"UNets ({UNETS}), and as an experiment with {NAMES}"


def late_layers(unet: HostModel, sites: Sequence[Site]) -> list[int]:
    """The layers in a UNet's output blocks whose grid has at least half as many rows as the latent.

    Of SDXL and Kolors these are layers 8-10, where Visual Style Prompting and StyleKeeper act (arXiv:2402.12974,
    arXiv:2510.06827); of SD1.5 and SD2 layers 10-15.
    """
    halvings = sum(isinstance(part, host_unet.Downsample) for block in unet.input_blocks for part in block)
    doublings = [0]
    for block in unet.output_blocks:
        doublings.append(doublings[-1] + sum(isinstance(part, host_unet.Upsample) for part in block))
    blocks = enumerate(layer_blocks(sites))
    return [layer for layer, (part, n) in blocks if part == "output" and halvings - doublings[n] <= 1]


def every_layer(unet: HostModel, sites: Sequence[Site]) -> list[int]:
    return list(range(len(layer_blocks(sites))))


LAYERS = {"late": late_layers, "all": every_layer}  # of UNets; those of transformers have the same names


@dataclass(frozen=True)
class Rideable:
    """A model that references can ride along with.

    `layers` are the numbers of the layers of each choice. `text_width` is the width of the texts that it reads, 0 if it
    is unknown. `competes` and `factor` of the weight are those of the method *auto*.
    """

    name: str  # of its class
    attentions: SelfAttentions
    blocks: tuple[Block, ...]
    layers: Mapping[str, Sequence[int]]
    text_width: int
    competes: bool
    factor: float


def sites_of_pictures(unet: HostModel) -> tuple[Site, ...]:
    """The transformer blocks of a UNet for pictures; ModelMismatchError for one for videos."""
    sites = find_sites(unet)
    if any(site.along_frames for site in sites):
        raise ModelMismatchError(
            f"This model ({type(unet).__name__}) makes videos: its self-attentions along the frames stand at the same "
            f"address as those of the pictures. IPAdapter Reference Attention works with {SUPPORTED}."
        )
    return sites


def unet_of(unet: HostModel) -> Rideable:
    sites = sites_of_pictures(unet)
    layers = {name: choose(unet, sites) for name, choose in LAYERS.items()}
    projection = getattr(unet, "encoder_hid_proj", None)  # which Kolors nodes put in front of a UNet, for the text
    name, width = type(unet).__name__, sites[0].context_dim if projection is None else in_features(projection)
    return Rideable(name, UNetAttentions(sites), layer_blocks(sites), layers, width, False, 1.0)


def transformer_of(family: JointModel, model: HostModel) -> Rideable:
    """A transformer of a known family. Late are the last three quarters of its blocks, as for Krea 2 in InvokeAI.

    In a transformer, a share of 1 in all layers would leave the picture's tokens without each other, so the method
    *auto* lets keys compete, for half the weight.
    """
    blocks = family.structure.layers(model)
    layers = {"late": range(len(blocks) // 4, len(blocks)), "all": range(len(blocks))}
    name, width = type(model).__name__, family.text_width(model)
    return Rideable(name, JointAttentions(family), blocks, layers, width, True, 0.5)


def rideable(model: HostModel) -> Rideable:
    """What references need to know of a diffusion model; ModelMismatchError if it has no accessible self-attention."""
    if UNET.fits(model):
        return unet_of(model)
    family = joint_model_of(model)
    if family is None:
        raise ModelMismatchError(
            f"In this model ({type(model).__name__}) nothing tells a patch where its self-attention is. IPAdapter "
            f"Reference Attention works with {SUPPORTED}."
        )
    return transformer_of(family, model)


@dataclass(frozen=True)
class Looks:
    """The inputs of IPAdapter Reference Attention, see RidingReference; `competes` is None for the method *auto*."""

    weight: float = 1.0
    layers: str = "late"
    start_at: float = 0.0
    end_at: float = 1.0
    mask: Tensor | None = None
    schedule: Schedule | None = None
    competes: bool | None = None
    match: float = 0.0
    negative: float = 1.0
    per_frame: bool = False


def ride_along(model: ModelPatcher, latent: Options, text: Conds, looks: Looks) -> ModelPatcher:
    """A clone of a model whose self-attentions attend to one more reference.

    Raises:
        ModelMismatchError: the model has no accessible self-attention.
        AdapterError: the latent has another format than the model's, or a share is not a number from 0 to 1.
    """
    target = rideable(original_model(model))
    check_range(looks.start_at, looks.end_at)
    channels: Any = model.get_model_object("latent_format").latent_channels
    note_black_masks([looks.mask])
    reference = RidingReference(
        latent=checked_latent(latent, channels),
        weights=shares(looks, target),
        start_at=looks.start_at,
        end_at=looks.end_at,
        text=None if text is None else checked_text(text, target.text_width),
        mask=checked_mask(looks.mask),
        competes=target.competes if looks.competes is None else looks.competes,
        match=checked_share(looks.match, "match"),
        negative=checked_share(looks.negative, "negative"),
        per_frame=looks.per_frame,
    )
    return attach_reference(model, reference, target.attentions)


def shares(looks: Looks, target: Rideable) -> Weights:
    """The share of a reference in every layer: the weight, in the chosen layers or times a schedule."""
    weight = checked_share(looks.weight, "weight") * (target.factor if looks.competes is None else 1.0)
    blocks = target.blocks
    if looks.schedule is None:
        chosen = target.layers[looks.layers]
        if not chosen:
            raise ModelMismatchError(f"This {target.name} has no {looks.layers} layers. Choose layers: all.")
        return of_layers(LayerWeights(tuple(weight * (layer in chosen) for layer in range(len(blocks)))))
    return checked_shares(looks.schedule.scaled(weight).resolve(blocks))


def checked_shares(weights: Weights) -> Weights:
    """The weights, if they are shares from 0 to 1 that push no reference away; AdapterError otherwise."""
    if weights.swapped:
        raise AdapterError(
            "The schedule has a precise weight type, which pushes the reference away in some layers. A share of the "
            "self-attention cannot be pushed away: choose another weight type, or write the layers as a text."
        )
    for percent in (0.0, 0.25, 0.5, 0.75, 1.0):
        for number in (min(weights.at(percent)), max(weights.largest(0.0, 1.0))):
            product = number * max(weights.frames, default=1.0)
            checked_share(product, "The product of weight and schedule", SMALLER)
    return weights


def checked_share(value: float, name: str, advice: str = "") -> float:
    """The number, if it is from 0 to 1; AdapterError otherwise, which calls it `name`."""
    if not 0 <= check_weight(value, name) <= 1:
        share = "it is a share of the attention, 0 is none and 1 is all of it"
        raise AdapterError(f"{name} is {value:g}: {share}.{advice}")
    return float(value)


def checked_latent(latent: Options, channels: int) -> Tensor:
    """The latents (images, channels, height, width) in a LATENT; AdapterError for other shapes and channels."""
    samples = latent["samples"]
    if not isinstance(samples, Tensor) or not samples.is_floating_point():
        raise AdapterError("latent needs the latent of a picture, from VAE Encode with this model's VAE.")
    if samples.ndim == 5 and samples.shape[2] == 1:
        samples = samples[:, :, 0]
    if samples.ndim != 4 or not samples.numel():
        raise AdapterError(
            f"latent has the shape {tuple(samples.shape)}: expected (images, channels, height, width). For several "
            "pictures make a batch of them, not a video."
        )
    if samples.shape[1] != channels:
        raise AdapterError(
            f"latent has {samples.shape[1]} channels, and this model works on {channels}. Encode the picture with this "
            "model's VAE."
        )
    if not is_finite(samples):
        raise AdapterError("latent holds values that are not numbers (NaN or infinite): the VAE went wrong.")
    return samples.detach()


def checked_text(text: Conds, width: int) -> Text:
    """The first entry of a CONDITIONING in the form of samplers' conds; AdapterError for text of another width and for
    text without numbers.
    """
    tokens = text[0][0] if text else None
    if not isinstance(tokens, Tensor) or not tokens.numel():
        raise AdapterError("text is an empty conditioning. Connect a CLIP Text Encode, or leave it open.")
    if width and tokens.shape[-1] != width:
        raise AdapterError(
            f"text is {tokens.shape[-1]} wide, and this model reads texts {width} wide. Encode it with this model's "
            "CLIP."
        )
    if not is_finite(tokens):
        raise AdapterError("text holds values that are not numbers (NaN or infinite): the text encoder went wrong.")
    return comfy.sampler_helpers.convert_cond(text[:1])[0]

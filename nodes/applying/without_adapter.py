"""IPAdapter Reference where no adapter fits the model: the model itself runs on the picture (Reference Attention)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import Tensor

from ...ipadapter.errors import AdapterError, NoAdapterError
from ...ipadapter.joint_models import joint_model_of
from ...ipadapter.sites import UNET
from ...ipadapter.takes import TAKES
from ...weight_schedules.schedule import CombinedSchedule, Schedule, WeightSchedule
from ...weight_schedules.steps import StepCurve
from ..sampling.attach import original_model
from .riding import Looks, Rideable, ride_along, rideable

SD15_TEXT, SD15_PIXELS, PIXELS = 768, 512 * 512, 1024 * 1024  # pixels that models of this text width are made for
LEAST_SIDE = 16  # pixels of a picture's side that become one latent pixel, in the VAEs that shrink it most (Flux.2)
SIDE = 64  # sides of scaled references are multiples of this number of pixels
CONNECT_VAE = "Or connect a VAE to vae: the model then follows the picture without an adapter, by its self-attention."


@dataclass(frozen=True)
class Ridden:
    """The model that runs on the pictures, their share in every layer and step, and the node's report."""

    model: ModelPatcher
    schedule: Schedule
    report: str


def needs_vae(model: ModelPatcher, take: str, error: NoAdapterError) -> NoAdapterError:
    """The error, with the advice to connect a VAE if the model can follow the picture without an adapter."""
    return NoAdapterError(f"{error} {CONNECT_VAE}") if can_ride(model, take) else error


def can_ride(model: ModelPatcher, take: str) -> bool:
    """Whether a choice can be had without an adapter: that of the whole picture or its style, on UNets and on families
    of transformers whose self-attention is known.
    """
    network = original_model(model)
    return bool(TAKES[take].riding) and (UNET.fits(network) or joint_model_of(network) is not None)


def ride_pictures(
    model: ModelPatcher,
    vae: VAE,
    take: str,
    pictures: Sequence[Tensor],
    inputs: Looks,
    reason: NoAdapterError,
) -> Ridden:
    """A clone of a model whose self-attentions attend to pictures (n, height, width, channels).

    `inputs` has the node's strength, which all pictures share, range, mask and schedule. `reason` says why no adapter
    is used.

    Raises:
        ModelMismatchError: the model is a UNet for videos.
        AdapterError: an empty range, or a schedule with weights that are no shares.
    """
    target = rideable(original_model(model))
    layers, strength = TAKES[take].riding, min(inputs.weight, 1.0)
    names = ", ".join(f"{layer}:1" for layer in target.layers[layers])
    looks = replace(inputs, weight=strength / len(pictures), schedule=times(WeightSchedule(names), inputs.schedule))
    for picture in pictures:
        model = ride_along(model, {"samples": encoded(vae, picture, target)}, None, looks)
    steps, share = StepCurve(start=inputs.start_at, end=inputs.end_at), strength * target.factor
    drawn = times(WeightSchedule(names, steps, scale=share), inputs.schedule)
    report = "\n".join(
        [
            f"{take} without an adapter, by IPAdapter Reference Attention: at every step the model also runs on the "
            "picture. Colours and texture come along, little of subject and layout.",
            f"{layers} of {len(target.blocks)} layers; share {share:g}; sampling {inputs.start_at:g} to "
            f"{inputs.end_at:g}",
            *(f"Experimental: {note}" for note in target.attentions.notes),
            f"Why no adapter: {reason}",
        ]
    )
    return Ridden(model, drawn, report)


def encoded(vae: VAE, pictures: Tensor, target: Rideable) -> Tensor:
    """The latents of pictures (n, height, width, channels), made smaller where the model is not made for their size.

    Each is encoded alone: VAEs of models with frames would take a batch for a video. AdapterError for pictures that are
    too small for a VAE.
    """
    rows, columns = pictures.shape[1:3]
    if min(rows, columns) < LEAST_SIDE:
        raise AdapterError(
            f"The picture has {columns} x {rows} pixels, and a VAE needs at least {LEAST_SIDE} x {LEAST_SIDE}. Connect "
            "a larger picture."
        )
    pixels = SD15_PIXELS if target.text_width == SD15_TEXT else PIXELS
    return torch.cat([vae.encode(picture) for picture in scaled_down(pictures[..., :3], pixels).split(1)])


def times(own: WeightSchedule, more: Schedule | None) -> Schedule:
    return own if more is None else CombinedSchedule("multiply", own, more)


def scaled_down(pictures: Tensor, pixels: int) -> Tensor:
    """Pictures (n, height, width, 3), made smaller if they have more than `pixels` pixels."""
    height, width = pictures.shape[1:3]
    if height * width <= pixels:
        return pictures
    factor = sqrt(pixels / (height * width))
    rows, columns = (max(SIDE, round(side * factor / SIDE) * SIDE) for side in (height, width))
    return comfy.utils.common_upscale(pictures.movedim(-1, 1), columns, rows, "area", "disabled").movedim(1, -1)

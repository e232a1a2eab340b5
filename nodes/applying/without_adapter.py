"""IPAdapter Reference where no adapter fits the model: the model itself runs on the picture (Reference Attention)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import comfy.utils
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import Tensor

from ...ipadapter.errors import NoAdapterError
from ...ipadapter.sites import UNET, layer_blocks
from ...ipadapter.takes import TAKES
from ...weight_schedules.schedule import CombinedSchedule, Schedule, WeightSchedule
from ...weight_schedules.steps import StepCurve
from .riding import LAYERS, Looks, ride_along, sites_of_pictures

SD15_TEXT, SD15_PIXELS, PIXELS = 768, 512 * 512, 1024 * 1024  # pixels that models of this text width are made for
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
    """Whether a choice can be had without an adapter: that of the whole picture or its style, on UNets."""
    return bool(TAKES[take].riding) and UNET.fits(model.get_model_object("diffusion_model"))


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
    unet = model.get_model_object("diffusion_model")
    sites = sites_of_pictures(unet)
    layers, share = TAKES[take].riding, min(inputs.weight, 1.0)
    names = ", ".join(f"{layer}:1" for layer in LAYERS[layers](unet, sites))
    pixels = SD15_PIXELS if sites[0].context_dim == SD15_TEXT else PIXELS
    looks = replace(inputs, weight=share / len(pictures), schedule=times(WeightSchedule(names), inputs.schedule))
    for picture in pictures:
        latent = vae.encode(scaled_down(picture[..., :3], pixels))
        model = ride_along(model, {"samples": latent}, None, looks)
    steps = StepCurve(start=inputs.start_at, end=inputs.end_at)
    drawn = times(WeightSchedule(names, steps, scale=share), inputs.schedule)
    report = "\n".join(
        [
            f"{take} without an adapter, by IPAdapter Reference Attention: at every step the model also runs on the "
            "picture. Colours and texture come along, little of subject and layout.",
            f"{layers} of {len(layer_blocks(sites))} layers; share {share:g}; sampling {inputs.start_at:g} to "
            f"{inputs.end_at:g}",
            f"Why no adapter: {reason}",
        ]
    )
    return Ridden(model, drawn, report)


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

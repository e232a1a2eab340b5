"""Riding references: a model runs on them once per step, and the picture's self-attentions attend to their keys.

A reference is noised to the sigma of the step, and the model runs on it in a call of its own, without the patches and
wrappers of the picture's calls. That call stores the keys and values of the self-attentions where the reference has a
share. The patches for both calls are set in the options of each call only (unet_attentions.py, joint_attentions.py), so
steps outside the range of all references run the unpatched model.
"""

import logging
import struct
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ...ipadapter.cache import serial, tensor_bytes
from ...ipadapter.errors import AdapterError
from ..host_types import HostModel, OwnOptions
from .attach import attach_rider, rider_of
from .backend import OVERRIDE
from .call import read_noise_schedule
from .joint_attentions import JointAttentions as JointAttentions
from .looking import Kept, Looking, RidingReference, SelfAttentions, Text
from .patches import KEY
from .riders import ModelCall, Rider
from .run import tiled_notes
from .store import Store
from .unet_attentions import UNetAttentions as UNetAttentions

log = logging.getLogger(__name__)
NOISE = 0x1B0A  # with sigma, the seed of the noise of references
LARGE = 4  # a reference with more than so many times the latent pixels of the picture gets a note
# Entries of a conditioning, and of transformer options, that the reference's call leaves out.
OF_THE_CANVAS = (
    "area", "mask", "concat_latent_image", "concat_mask", "denoise_mask",
    "reference_latents", "reference_latents_text_embeds",  # an edit model's own references
)  # fmt: skip
OF_THE_PICTURE = ("patches", "patches_replace", "wrappers", "callbacks", "context_window", OVERRIDE, KEY)

UNKNOWN_ROWS = (
    "Another custom node splits the batch, so it is not known which rows belong to the negative prompt or to a frame. "
    "The references of IPAdapter Reference Attention were left out of these calls. Take out that node, or use no "
    "attn_mask, negative 1 and per_frame off."
)
NOT_REACHED = (
    "IPAdapter Reference Attention had no effect in this run: the self-attentions work on merged or tiled tokens, or "
    "were never called. Take out the node that merges or tiles them (ToMe, HyperTile), or choose layers: all."
)
NO_NEGATIVE_ROWS = (
    "negative of IPAdapter Reference Attention had no effect: at CFG 1 the model is not run on the negative prompt."
)
ANIMATED = (
    "IPAdapter Reference Attention does not work with AnimateDiff-Evolved, which calls self-attentions along the "
    "frames too. Use ComfyUI's own context windows, or take out one of the two."
)
LARGE_REFERENCE = (
    "A reference of {reference} latent pixels is more than {times} times as large as the picture of {picture}, and its "
    "keys and values take memory accordingly. Scale the reference down before it is encoded."
)

# Latents and conditionings of the calls on references, on the device: the same in all steps of a run.
Inputs = dict[tuple[RidingReference, torch.device], tuple[Tensor, OwnOptions]]


def attach_reference(model: ModelPatcher, reference: RidingReference, attentions: SelfAttentions) -> ModelPatcher:
    """A clone of a model with one more riding reference in its self-attentions.

    Raises:
        AdapterError: another pack replaced a self-attention by a module that takes no patch.
    """
    read_noise_schedule(model.get_model_object("model_sampling"), [reference])
    earlier = rider_of(model, Ride)
    ride = Ride((*(earlier.references if earlier else ()), reference), attentions)
    ride.check(model)
    return attach_rider(model, ride)


def change_references(model: ModelPatcher, change: Callable[[RidingReference], RidingReference]) -> ModelPatcher:
    """A clone of a model with `change(reference)` in place of every riding reference; the model if it has none."""
    earlier = rider_of(model, Ride)
    if earlier is None:
        return model
    return attach_rider(model, Ride(tuple(map(change, earlier.references)), earlier.attentions))


@dataclass(eq=False)
class Ride(Rider):
    """The riding references of a model, and its self-attentions.

    `kept` holds the keys and values of a reference for one sigma. `inputs` and `stored` (masks, the order of pictures)
    hold for one run what all its steps need.
    """

    order = 1

    references: tuple[RidingReference, ...]
    attentions: SelfAttentions
    kept: dict[tuple[RidingReference, torch.device], tuple[Hashable, Kept]] = field(default_factory=dict)
    inputs: Inputs = field(default_factory=dict)
    stored: Store = field(default_factory=Store)
    acted: bool = False  # in this run, a reference had a share in some call
    reached: bool = False  # in this run, a self-attention attended to a reference

    def check(self, model: ModelPatcher) -> None:
        largest = [reference.weights.largest(0.0, 1.0) for reference in self.references]
        self.attentions.check(model, {layer for shares in largest for layer, share in enumerate(shares) if share})

    def pixels(self) -> int:
        latents = [reference.latent for reference in self.references]
        return sum(len(latent) * latent.shape[-2] * latent.shape[-1] for latent in latents)

    def begin_run(self) -> None:
        self.acted = self.reached = False
        self.cleanup()

    def end_run(self) -> Sequence[str]:
        return [NOT_REACHED] if self.acted and not self.reached else []

    def cleanup(self) -> None:
        self.kept.clear()
        self.inputs.clear()
        self.stored.clear()

    def before_call(self, call: ModelCall) -> ModelCall:
        sigma, rows = float(call.t.flatten()[0]), call.plan.call.rows
        shares = {reference: reference.shares(call.plan.position, sigma) for reference in self.references}
        acting = {reference: share for reference, share in shares.items() if any(share)}
        unknown = [
            reference
            for reference in acting
            if (reference.needs_rows and not rows.branches) or (reference.frames_differ and not rows.placed)
        ]
        if unknown:
            call.say([UNKNOWN_ROWS])
            acting = {reference: share for reference, share in acting.items() if reference not in unknown}
        if not acting:
            return call
        if "ad_params" in call.options:
            raise AdapterError(ANIMATED)
        call.say([*self.attentions.notes, *notes_of(call, acting)])
        kept = {reference: self._captured(reference, share, sigma, call) for reference, share in acting.items()}
        self.acted = True
        return self.attentions.look(call, Looking(self, acting, kept, rows))

    def _captured(self, reference: RidingReference, shares: Sequence[float], sigma: float, call: ModelCall) -> Kept:
        """Keys and values of a reference at a sigma, computed once per step, device and set of the host's hooks."""
        hooks = getattr(call.model.current_patcher, "current_hooks", None)  # the host's: LoRAs of a conditioning
        moment = sigma, None if hooks is None else serial(hooks), self.attentions.moment(call)
        of_moment, kept = self.kept.get(key := (reference, call.x.device), (None, {}))
        if of_moment == moment:
            return kept
        self.kept.pop(key, None)  # frees the memory of the last step's before new ones are computed
        with torch.no_grad():
            on_reference = call_on(reference, sigma, call, self.inputs)
            kept = self.attentions.capture(on_reference, shares, bool(reference.match), call)
        if of_moment is None:
            log.info("A reference keeps %.0f MB of keys and values.", tensor_bytes(kept) / 1e6)
        self.kept[key] = moment, kept
        return kept


def call_on(reference: RidingReference, sigma: float, call: ModelCall, inputs: Inputs) -> ModelCall:
    """The model call on a reference that is noised to a sigma; `inputs` holds what such calls of a run share."""
    key = reference, call.x.device
    if key not in inputs:
        inputs[key] = inputs_of(reference, call)
    latent, conds = inputs[key]
    t = call.t[:1].repeat(len(latent))
    noised = call.model.model_sampling.noise_scaling(t, noise_at(sigma, latent), latent, False)
    return replace(call, x=noised, t=t, options=own_options(call.options, t), conds=conds)


def inputs_of(reference: RidingReference, call: ModelCall) -> tuple[Tensor, OwnOptions]:
    """The latent of a reference, and the keyword arguments that the model makes of its conditioning, on the device."""
    model = call.model
    latent = reference.latent.unsqueeze(2) if call.x.ndim == 5 else reference.latent  # models with frames
    latent = model.process_latent_in(latent.to(call.x))
    text = reference.text or call.options.get(KEY, {}).get("text") or {}
    conds = {
        name: cond.process_cond(batch_size=len(latent), area=None).cond
        for name, cond in conds_of(model, text, latent).items()
    }
    return latent, tree_map_only(Tensor, lambda x: x.to(latent.device), conds)


def own_options(options: OwnOptions, sigmas: Tensor) -> OwnOptions:
    """The transformer options of a reference's call, beside options of the picture's."""
    own = {name: value for name, value in options.items() if name not in OF_THE_PICTURE}
    return own | {"cond_or_uncond": [0], "uuids": [uuid4()], "sigmas": sigmas}


def notes_of(call: ModelCall, references: Iterable[RidingReference]) -> list[str]:
    """Notes for the user about references in a call: large ones, masks of unknown parts, shares in rows that are not
    there.
    """
    notes: list[str] = []
    cfg, (tall, wide) = call.options.get(KEY, {}).get("cfg"), call.x.shape[-2:]
    for reference in references:
        height, width = reference.latent.shape[-2:]
        if height * width > LARGE * tall * wide:
            sizes = {"reference": f"{width} x {height}", "picture": f"{wide} x {tall}"}
            notes.append(LARGE_REFERENCE.format(**sizes, times=LARGE))
        if reference.negative != 1 and cfg == 1:
            notes.append(NO_NEGATIVE_ROWS)
        if reference.mask is not None:
            notes += tiled_notes(call.options, call.plan.call)
    return notes


def noise_at(sigma: float, like: Tensor) -> Tensor:
    """Noise in the shape of `like`, seeded by sigma: equal in every run, and not drawn from the picture's generator."""
    bits = struct.unpack("<I", struct.pack("<f", sigma))[0]
    generator = torch.Generator().manual_seed(NOISE * 2**32 + bits)
    return torch.randn(like.shape, generator=generator).to(like)


def conds_of(model: HostModel, text: Text, latent: Tensor) -> OwnOptions:
    """The conditionings that the model makes of a text for a latent of this size."""
    plain = {name: value for name, value in text.items() if name not in OF_THE_CANVAS} | {"model_conds": {}}
    picture, encode = latent[:1], model.extra_conds
    given = [plain], torch.zeros_like(picture), picture.device, "positive"
    return comfy.samplers.encode_model_conds(encode, *given, latent_image=picture)[0]["model_conds"]

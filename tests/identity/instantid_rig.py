"""A tiny SDXL, ControlNets of its layout, a real face for them, and InstantID's predictions by its formulas."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness.assets import instantid
from identity.formulas import both, controlled, denoised, face_attention, predicted, text_attention
from pack.encoders.faces import FaceChoice, face_features
from pack.ipadapter.checkpoint import Checkpoint, read_checkpoint
from pack.nodes.applying.apply import Strength
from pack.nodes.applying.control import with_face_control
from pack.nodes.applying.encoding import Reference
from pack.nodes.applying.instantid import apply_identity, side_by_side
from pack.nodes.loading.adapters import LoadedAdapter, manage
from test_nodes_pack.counting import HOST_NODES
from test_nodes_pack.loaders import tiny_control_net
from test_nodes_pack.standins import POOLED, seeded
from test_nodes_pack.unets import tiny_model

SIGMA, CFG, WEIGHT, STRENGTH = 3.7, 4.5, 0.8, 0.7
SIZE = (6, 8)  # of the latent; 3 x 4 and 2 x 2 on the other levels
Conds = list[Any]


def close(one: Tensor, other: Tensor) -> None:
    """Equal but for float32 sums in another order, times sigma and guidance, in values up to 100."""
    torch.testing.assert_close(one, other, rtol=1e-5, atol=5e-4)


def texts() -> list[Conds]:
    return [[[seeded((1, 8, 2048), seed), {"pooled_output": seeded((1, POOLED), seed + 1)}]] for seed in (10, 20)]


class Studio:
    """Models, ControlNets and the pictures for them."""

    def __init__(self, analysis: Any, photo: Callable[[str], Tensor]) -> None:
        self.analysis, self.photo = analysis, photo
        self.checkpoint: Checkpoint = read_checkpoint(instantid(), "ip-adapter.bin")
        self.adapter: LoadedAdapter = manage(self.checkpoint)
        self.model = tiny_model("sdxl shallow", 1)
        self.nets = {name: tiny_control_net(seed, "sdxl shallow") for name, seed in (("face", 11), ("other", 12))}
        generator = torch.Generator().manual_seed(0)
        self.hints = {name: torch.rand(1, 48, 64, 3, generator=generator) for name in self.nets}
        self.left = torch.zeros(1, 48, 64)
        self.left[..., :32] = 1

    def apply(
        self, model: Any = None, photos: tuple[str, ...] = ("astronaut",), combine: str = "average", **strength: Any
    ) -> tuple[Any, dict[str, Tensor]]:
        """A model with the face of photos in its cross-attentions, and the face's tokens."""
        images = torch.cat([self.photo(name) for name in photos])
        reference = Reference(images, combine=combine, face=FaceChoice("largest"))
        asked = Strength(**{"weight": WEIGHT} | strength)
        model, tokens = apply_identity(model or self.model, self.adapter, self.analysis, reference, asked)
        return model, dict(side_by_side(tokens))

    def control(
        self, conds: list[Conds], tokens: Any, mask: Tensor | None = None, strength: float = STRENGTH,
        active: tuple[float, float] = (0.0, 1.0),
    ) -> list[Conds]:  # fmt: skip
        return with_face_control(conds, self.nets["face"], self.hints["face"], tokens, strength, active, mask)

    def chained(self, conds: list[Conds], net: str = "other", strength: float = 0.65) -> list[Conds]:
        """A ControlNet that sees the text, as ComfyUI's own Apply ControlNet puts it into the chain."""
        apply: Any = HOST_NODES.ControlNetApplyAdvanced().apply_controlnet
        return list(apply(*conds, self.nets[net], self.hints[net], strength, 0.0, 1.0))

    def sampled(self, model: Any, conds: list[Conds], cfg: float = CFG) -> Tensor:
        return denoised(model, conds, SIGMA, seeded((2, 4, *SIZE), 5), cfg)[1]

    @cached_property
    def bare(self) -> Tensor:
        """What the model gives without a face."""
        return self.sampled(self.model, texts())

    @cached_property
    def face(self) -> list[Tensor]:
        """Tokens of the face, and of no face."""
        choice = FaceChoice("largest")
        vector = face_features(self.analysis, self.photo("astronaut"), 256, normed=False, choice=choice).embeds
        return [self.adapter.network.project(None, row) for row in (vector, torch.zeros_like(vector))]

    @torch.inference_mode()
    def published(
        self, mask: Tensor | None = None, second: float = 0.0, faceless: bool = False, cfg: float = CFG
    ) -> Tensor:
        """The prediction by the formulas: the face in the cross-attentions and in the ControlNet, or in neither;
        `second` is the strength of another ControlNet, which sees the text.
        """
        base, x, of_mask = (
            self.model.model,
            seeded((2, 4, *SIZE), 5) * SIGMA,
            None if mask is None else mask.unsqueeze(1),
        )
        noise = []
        for tokens, cond in zip(self.face, texts(), strict=True):
            text, settings = cond[0]
            y = base.encode_adm(pooled_output=settings["pooled_output"], width=SIZE[1] * 8, height=SIZE[0] * 8)
            formula, added = text_attention, None
            if not faceless:
                formula = face_attention(tokens, self.checkpoint.ip_adapter, WEIGHT, of_mask)
                face = (self.hints["face"], tokens, y, STRENGTH, of_mask)
                added = controlled(base, self.nets["face"], x, SIGMA, *face)
            if second and added:
                other = (self.hints["other"], text, y, second)
                added = both(added, controlled(base, self.nets["other"], x, SIGMA, *other))
            noise.append(predicted(base, x, SIGMA, text, y, formula, added))
        return x - SIGMA * (noise[1] + cfg * (noise[0] - noise[1]))

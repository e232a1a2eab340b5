"""Families of diffusion models: a table of all that differs between them, as plain data.

A model's family follows from its structure and from the width of the text that its blocks read, never from its name.
`weight_schedules` reads this module too, so it imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .sites import FLUX_BLOCKS, JOINT_BLOCKS, UNET, Block, Structure

Level = tuple[str, int, int, int]  # part of the UNet, level (0 is the finest), transformers, cross-attentions in each
Place = tuple[str, int, int, int]  # part, level, number of the transformer in that level, position in the transformer


@dataclass(frozen=True)
class Roles:
    """What layers are known to carry; `composition` also says how much of the weight each of its layers gets."""

    style: frozenset[int]
    composition: Mapping[int, float]

    def gain(self, layer: int) -> float:
        """How much of a weight a layer gets as a composition layer, 0 to 1."""
        return self.composition.get(layer, 0.0)

    def word(self, layer: int) -> str:
        """`style`, `composition` or ""."""
        return "style" if layer in self.style else "composition" if layer in self.composition else ""


@dataclass(frozen=True)
class FaceHabits:
    """What the FaceID adapters of a family were trained with."""

    side: int = 224  # pixels of the square picture of a face
    crop: Literal["aligned", "box"] = "aligned"  # turned upright by its landmarks, or the square around the box
    normed: bool = True  # whether the recogniser's vector is brought to length 1
    negative: Literal["picture", "zeros"] = "picture"  # the hidden states that the negative prompt sees


@dataclass(frozen=True, eq=False)
class Family:
    """A family: what it is called, the width of the text its layers read, where its layers are, what they carry."""

    name: str
    title: str
    text_width: int
    blocks: tuple[Block, ...]  # every layer of the full model, in the order in which it runs
    levels: tuple[Level, ...]  # every cross-attention of the full model, in the order in which checkpoints number them
    roles: Roles | None
    face: FaceHabits = field(default_factory=FaceHabits)
    presets: tuple[str, ...] = ()  # the families whose published adapters run on it, its own first
    structure: Structure = UNET

    @property
    def places(self) -> tuple[Place, ...]:
        """Every cross-attention of the full model, in checkpoint order."""
        return tuple(
            (part, level, transformer, position)
            for part, level, count, depth in self.levels
            for transformer in range(count)
            for position in range(depth)
        )


# Roles of SDXL's layers: InstantStyle (arXiv:2404.02733), confirmed by B-LoRA (arXiv:2403.14572). SD1.5's: every layer
# was tried in the same way. There, the layer before the composition layer carries a part of the layout too: a quarter
# was the least weight with a visible effect.
SD15 = Family(
    "sd15", "SD1.5", 768,
    (*(("input", number) for number in (1, 2, 4, 5, 7, 8)), ("middle", 0),
     *(("output", number) for number in range(3, 12))),
    (("input", 0, 2, 1), ("input", 1, 2, 1), ("input", 2, 2, 1),
     ("output", 2, 3, 1), ("output", 1, 3, 1), ("output", 0, 3, 1), ("middle", 2, 1, 1)),
    Roles(frozenset({0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15}), {4: 0.25, 5: 1.0}),
    presets=("sd15",),
)  # fmt: skip
SD2 = Family("sd2", "SD2", 1024, SD15.blocks, SD15.levels, SD15.roles)  # no adapter was published
SDXL = Family(
    "sdxl", "SDXL", 2048,
    (*(("input", number) for number in (4, 5, 7, 8)), ("middle", 0), *(("output", number) for number in range(6))),
    (("input", 0, 2, 2), ("input", 1, 2, 10), ("output", 1, 3, 10), ("output", 0, 3, 2), ("middle", 1, 1, 10)),
    Roles(frozenset({6}), {3: 1.0}),
    FaceHabits(side=256),
    presets=("sdxl", "kolors"),
)  # fmt: skip
KOLORS = Family(
    "kolors", "Kolors", 2048, SDXL.blocks, SDXL.levels, SDXL.roles,
    FaceHabits(side=336, crop="box", normed=False, negative="zeros"),
    presets=("kolors", "sdxl"),
)  # fmt: skip
# Transformers: every block is a layer. Which blocks carry style or composition was published for none of them.
FLUX = Family(
    "flux", "Flux", 4096,
    (*(("double", number) for number in range(19)), *(("single", number) for number in range(38))),
    (), None, presets=("flux",), structure=FLUX_BLOCKS,
)  # fmt: skip
SD35 = Family(
    "sd3.5", "SD3.5", 4096, tuple(("joint", number) for number in range(38)), (), None, presets=("sd3.5",),
    structure=JOINT_BLOCKS,
)  # fmt: skip
FAMILIES: dict[str, Family] = {family.name: family for family in (SD15, SD2, SDXL, KOLORS, FLUX, SD35)}
LAYOUTS: dict[str, tuple[Block, ...]] = {
    family.title: family.blocks for family in (SD15, SDXL, FLUX, SD35)
}  # of distinct models


def face_habits(name: str) -> FaceHabits:
    """What the FaceID adapters of a family were trained with; as SD1.5's for an unknown family."""
    return FAMILIES[name].face if name in FAMILIES else FaceHabits()


OTHER_UNETS = {1280: "SDXL's refiner", 1024: "SD2 or Stable Video Diffusion"}  # no adapter was published for them


def title_of(text_width: int, structure: Structure | None = UNET) -> str:
    """What a person calls a model or adapter whose layers read text of this width."""
    if structure is UNET and text_width in OTHER_UNETS:
        return OTHER_UNETS[text_width]
    family = family_of_model(text_width, False, structure)
    return family.title if family is not None else "another family"


def family_of_model(text_width: int, has_text_projection: bool, structure: Structure | None = UNET) -> Family | None:
    """The family of a model, by its structure and, of a UNet, the width of the text it reads; Kolors has SDXL's UNet
    with a text projection before it.
    """
    fits = [
        family
        for family in FAMILIES.values()
        if family.structure is structure and (structure is not UNET or family.text_width == text_width)
    ]
    if has_text_projection and KOLORS in fits:
        return KOLORS
    return fits[0] if fits else None


def family_of_blocks(blocks: Sequence[Block]) -> Family | None:
    """The family whose full model has its layers at just these blocks; the first one of those that share a layout."""
    return next((family for family in FAMILIES.values() if family.blocks == tuple(blocks)), None)


def roles_of_blocks(blocks: Sequence[Block]) -> Roles | None:
    """What the layers at these blocks carry; None for anything but a full model of a known family."""
    family = family_of_blocks(blocks)
    return family.roles if family is not None else None


def full_places(widths: Sequence[int]) -> tuple[Place, ...]:
    """The places of the full UNet whose cross-attentions have these widths in checkpoint order; empty for other widths.

    Widths grow from level to level, so their ranks are the levels, for every base width of the model.
    """
    ranks = sorted(set(widths))
    levels = [ranks.index(width) for width in widths]
    return next((f.places for f in FAMILIES.values() if [level for _, level, _, _ in f.places] == levels), ())

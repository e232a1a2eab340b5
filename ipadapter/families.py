"""Families of diffusion models and the differences between them, as plain data.

The family of a model follows from its structure and the width of its text embeds, never from its name.
`weight_schedules` imports this module, so it imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .sites import FLUX_BLOCKS, JOINT_BLOCKS, UNET, Block, Structure

Level = tuple[str, int, int, int]  # part of the UNet, level (0: finest), transformers, cross-attentions per transformer
Place = tuple[str, int, int, int]  # part, level, number of the transformer in that level, position in the transformer


@dataclass(frozen=True)
class Roles:
    """The layers that carry style, and those that carry composition with a gain (0 to 1) of the weight for each."""

    style: frozenset[int]
    composition: Mapping[int, float]

    def gain(self, layer: int) -> float:
        """The factor, 0 to 1, on the weight of a composition layer; 0 for other layers."""
        return self.composition.get(layer, 0.0)

    def word(self, layer: int) -> str:
        """The role of a layer: `style`, `composition` or ""."""
        return "style" if layer in self.style else "composition" if layer in self.composition else ""


@dataclass(frozen=True)
class FaceHabits:
    """The face crops and embeds that a family's FaceID adapters were trained with."""

    side: int = 224  # pixels: side of the square crop of a face
    crop: Literal["aligned", "box"] = "aligned"  # rotated upright by five points, or the square around the box
    normed: bool = True  # whether the recogniser's embeds are scaled to length 1
    negative: Literal["picture", "zeros"] = "picture"  # negative hidden states: of the negative picture, or 0


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models: its names, the width of its text embeds, the blocks of its layers, and their roles."""

    name: str
    title: str
    text_width: int
    blocks: tuple[Block, ...]  # all layers of the full model, in the order of execution
    levels: tuple[Level, ...]  # all cross-attentions of the full model, in the order of their key numbers
    roles: Roles | None
    face: FaceHabits = field(default_factory=FaceHabits)
    presets: tuple[str, ...] = ()  # families whose published adapters run on it, its own first
    structure: Structure = UNET

    @property
    def places(self) -> tuple[Place, ...]:
        """The places of all cross-attentions of the full model, in the order of their key numbers."""
        return tuple(
            (part, level, transformer, position)
            for part, level, count, depth in self.levels
            for transformer in range(count)
            for position in range(depth)
        )


# Roles of SDXL's layers: InstantStyle (arXiv:2404.02733), confirmed by B-LoRA (arXiv:2403.14572). Roles of SD1.5's
# layers come from the same experiment with each layer. The layer before its composition layer carries a part of the
# layout too; its gain of a quarter is the smallest with a visible effect.
SD15 = Family(
    "sd15", "SD1.5", 768,
    (*(("input", number) for number in (1, 2, 4, 5, 7, 8)), ("middle", 0),
     *(("output", number) for number in range(3, 12))),
    (("input", 0, 2, 1), ("input", 1, 2, 1), ("input", 2, 2, 1),
     ("output", 2, 3, 1), ("output", 1, 3, 1), ("output", 0, 3, 1), ("middle", 2, 1, 1)),
    Roles(frozenset({0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15}), {4: 0.25, 5: 1.0}),
    presets=("sd15",),
)  # fmt: skip
SD2 = Family("sd2", "SD2", 1024, SD15.blocks, SD15.levels, SD15.roles)  # without published adapters
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
# In transformers every block is a layer. There is no publication on the roles of their blocks.
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
}  # of families with different blocks


def face_habits(name: str) -> FaceHabits:
    """The FaceHabits of a family, by its name; those of SD1.5 for an unknown name."""
    return FAMILIES[name].face if name in FAMILIES else FaceHabits()


OTHER_UNETS = {1280: "SDXL's refiner", 1024: "SD2 or Stable Video Diffusion"}  # without published adapters


def title_of(text_width: int, structure: Structure | None = UNET) -> str:
    """The title, for messages, of the model whose text embeds have this width; "another family" if unknown."""
    if structure is UNET and text_width in OTHER_UNETS:
        return OTHER_UNETS[text_width]
    family = family_of_model(text_width, False, structure)
    return family.title if family is not None else "another family"


def family_of_model(text_width: int, has_text_projection: bool, structure: Structure | None = UNET) -> Family | None:
    """The family of a model by its structure, and for a UNet also by the width of its text embeds; None if unknown.

    Kolors has SDXL's UNet, and a text projection before it.
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
    """The first family whose full model has exactly these blocks, or None; SDXL and Kolors have the same blocks."""
    return next((family for family in FAMILIES.values() if family.blocks == tuple(blocks)), None)


def roles_of_blocks(blocks: Sequence[Block]) -> Roles | None:
    """The roles of the layers at these blocks; None unless they are all blocks of a known family with roles."""
    family = family_of_blocks(blocks)
    return family.roles if family is not None else None


def full_places(widths: Sequence[int]) -> tuple[Place, ...]:
    """The places of the full UNet whose cross-attentions have these widths, in the order of key numbers; () if unknown.

    Widths grow with the level, so the rank of a width is its level, whatever the UNet's base width.
    """
    ranks = sorted(set(widths))
    levels = [ranks.index(width) for width in widths]
    return next((f.places for f in FAMILIES.values() if [level for _, level, _, _ in f.places] == levels), ())

"""The choices of IPAdapter Reference: what to take from a picture, as one table of adapters, layers, weight and steps.

The node, its help and docs/reference.md read this table. Which layers carry style and composition is from InstantStyle,
arXiv:2404.02733 (see families.py). The weight of anime adapters is what their users recommend.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from . import catalog
from .families import Family
from .presets import PRESETS

WHOLE_PICTURE = (  # presets that see the whole picture, closest first; a family of models has some of them
    catalog.PLUS, catalog.STANDARD, catalog.VIT_G_PRESET, catalog.LIGHT, "Kolors", catalog.INSTANTX_PRESET,
    catalog.XLABS_V2_PRESET, catalog.XLABS_PRESET, catalog.SD35_PRESET,
)  # fmt: skip
FACE_IDS = (catalog.FACEID_PLUS_V2, catalog.FACEID_PLUS, catalog.FACEID, catalog.FACEID_KOLORS)
ALL_LAYERS = "linear"
ANIME_WEIGHT, ANIME_END = 0.45, 0.6


@dataclass(frozen=True)
class Recipe:
    """One way to take something from a picture.

    `layers` is a weight type, or layers by name as IPAdapter Weight Schedule reads them. `weight` is the weight at
    strength 1. `end_at` is the part of sampling at which the reference stops to act at the latest.
    """

    presets: tuple[str, ...]  # of the unified loaders, best first
    layers: str
    weight: float
    end_at: float = 1.0

    @property
    def needs_roles(self) -> bool:
        """Whether it can act only where the layers of style and composition are known."""
        return self.layers != ALL_LAYERS


@dataclass(frozen=True)
class Take:
    """A choice: what comes along from the picture, and the recipes for it, best first.

    A second picture gives the layout where `second_gives_layout`; otherwise both pictures act alike.
    """

    meaning: str
    recipes: tuple[Recipe, ...]
    second_gives_layout: bool = False
    approximate: bool = False


TAKES: Mapping[str, Take] = {
    "everything": Take(
        "subject, colours, manner and layout", (Recipe(WHOLE_PICTURE, ALL_LAYERS, 0.8),)
    ),
    "style": Take(
        "colours and manner; the text says what is drawn", (Recipe(WHOLE_PICTURE, "style transfer", 1.0),)
    ),
    "layout": Take(
        "where things are, without their colours",
        (Recipe(("Composition",), ALL_LAYERS, 0.8), Recipe(WHOLE_PICTURE, "composition", 1.0)),
    ),
    "style and layout": Take(
        "colours, manner and layout; with image_2, the layout is that of image_2",
        (Recipe(WHOLE_PICTURE, "style and composition", 1.0),),
        second_gives_layout=True,
    ),
    "face or person": Take(
        "who it is",
        (Recipe(FACE_IDS, ALL_LAYERS, 0.9), Recipe((catalog.PLUS_FACE, catalog.FULL_FACE), ALL_LAYERS, 0.8)),
    ),
    "character without its colours": Take(
        "shape and features; the text says the colours",
        (Recipe(WHOLE_PICTURE, "all, style:0", 0.8, end_at=0.6),),
        approximate=True,
    ),
}  # fmt: skip


def recipes_for(take: str, family: Family, anime: bool) -> list[tuple[str, Recipe]]:
    """The presets that can serve a choice on a family of models, each with its recipe, best first.

    `anime`: the model is an anime model of SDXL, for which an adapter of its own comes first. Empty where no adapter
    was published, or where the recipe needs layers whose roles nobody has published.
    """
    usable = [recipe for recipe in TAKES[take].recipes if family.roles is not None or not recipe.needs_roles]
    if anime and family.name == "sdxl":
        usable = [each for recipe in usable for each in (*_for_anime(recipe), recipe)]
    return [
        (preset, recipe) for recipe in usable for preset in recipe.presets if family.name in PRESETS[preset].adapters
    ]


def _for_anime(recipe: Recipe) -> tuple[Recipe, ...]:
    if recipe.presets is not WHOLE_PICTURE:
        return ()
    return (replace(recipe, presets=(catalog.ANIME,), weight=ANIME_WEIGHT, end_at=min(recipe.end_at, ANIME_END)),)

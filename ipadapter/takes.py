"""The choices of IPAdapter Reference: for each, the presets, layers, weight and sampling range, as a table.

The node, its help and docs/reference.md read this table. Which layers carry style and composition is from InstantStyle,
arXiv:2404.02733 (see families.py). The weight of anime adapters is what their users recommend.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from . import catalog
from .families import Family
from .presets import PRESETS

WHOLE_PICTURE = (  # presets for the whole picture, closest likeness first; no family of models has all of them
    catalog.PLUS, catalog.STANDARD, catalog.VIT_G_PRESET, catalog.LIGHT, "Kolors", catalog.INSTANTX_PRESET,
    catalog.XLABS_V2_PRESET, catalog.XLABS_PRESET, catalog.SD35_PRESET,
)  # fmt: skip
FACE_IDS = (catalog.FACEID_PLUS_V2, catalog.FACEID_PLUS, catalog.FACEID, catalog.FACEID_KOLORS)
ALL_LAYERS = "linear"
ANIME_WEIGHT, ANIME_END = 0.45, 0.6


@dataclass(frozen=True)
class Recipe:
    """Presets and settings for a choice.

    `layers` is a weight type, or a name of layers in IPAdapter Weight Schedule. `weight` is the weight at strength 1.
    `end_at` is the sampling percent, 0 to 1, at which the reference stops acting at the latest.
    """

    presets: tuple[str, ...]  # of the unified loaders, best first
    layers: str
    weight: float
    end_at: float = 1.0

    @property
    def needs_roles(self) -> bool:
        """Whether it needs a family of models whose layers of style and composition are known."""
        return self.layers != ALL_LAYERS


@dataclass(frozen=True)
class Take:
    """A choice: the properties that are taken from the picture (`meaning`), and the recipes for it, best first.

    If `second_gives_layout`, a second picture gives the layout; otherwise both pictures act alike. `riding` is the
    choice of layers with which IPAdapter Reference Attention takes the same where no adapter fits; "" if it cannot.
    """

    meaning: str
    recipes: tuple[Recipe, ...]
    second_gives_layout: bool = False
    approximate: bool = False
    riding: str = ""


TAKES: Mapping[str, Take] = {
    "everything": Take(
        "subject, colours, manner and layout", (Recipe(WHOLE_PICTURE, ALL_LAYERS, 0.8),), riding="all"
    ),
    "style": Take(
        "colours and manner; the text says what is drawn",
        (Recipe(WHOLE_PICTURE, "style transfer", 1.0),),
        riding="late",
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
    """The presets for a choice on a family of models, each with its recipe, best first.

    `anime`: the model is an anime model of SDXL, so the adapter for those comes first. The list is empty if no adapter
    was published for the family, or if the recipe needs roles of layers that are not published.
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

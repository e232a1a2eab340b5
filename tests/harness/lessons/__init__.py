"""The lessons in workflows/: each is described in a few lines, once for real models and once for the demo's."""

from ..transformer_recipes import RECIPES as TRANSFORMERS
from . import comparing, embeds, measuring, moments, people, regions, styles  # noqa: F401  # they fill LESSONS
from .registry import RECIPES as LESSONS

RECIPES = LESSONS | TRANSFORMERS

"""The lessons in workflows/: each is described in a few lines, once for real models and once for the demo's."""

from . import (  # noqa: F401  # they fill RECIPES
    comparing,
    editing,
    embeds,
    first,
    identity,
    measuring,
    moments,
    passes,
    people,
    regions,
    styles,
    transformers,
)
from .registry import RECIPES as RECIPES

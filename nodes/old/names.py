"""Compatibility only: names of 2023 and 2024 that saved workflows and other packs still use."""

# Names of weight types between March and June 2024 -> present names.
RENAMED = {
    "style transfer (SDXL)": "style transfer",
    "style transfer (SDXL only)": "style transfer",
    "composition (SDXL)": "composition",
    "style transfer and composition": "style and composition",
}
# The first weight types, which gave all layers the same weight -> embeds scaling.
FIRST_TYPES = {
    "original": "V only",
    "linear": "K+V",
    "channel penalty": "K+mean(V) w/ C penalty",
}
# Filters of the first Prep Image For ClipVision that have another name in Pillow.
FIRST_FILTERS = {"area": "BOX", "nearest-exact": "NEAREST"}


def current_filter(name: str) -> str:
    """The present name of a filter from an old workflow; the first names were in lower case."""
    return FIRST_FILTERS.get(name, name.upper())


def current_name(weight_type: str) -> str:
    """The present name of a weight type from an old workflow; any other name is returned unchanged."""
    return RENAMED.get(weight_type, weight_type)


def layers_and_scaling(weight_type: str) -> tuple[str, str]:
    """The present weight type and embeds scaling for a weight type of the first apply nodes."""
    if weight_type in FIRST_TYPES:
        return "linear", FIRST_TYPES[weight_type]
    return weight_type, "V only"

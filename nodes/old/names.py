"""Compatibility only: names of 2023 and 2024 that saved workflows and other packs still use."""

# Weight types as they were listed between March and June 2024.
RENAMED = {
    "style transfer (SDXL)": "style transfer",
    "style transfer (SDXL only)": "style transfer",
    "composition (SDXL)": "composition",
    "style transfer and composition": "style and composition",
}
# The first weight types, which reached all layers alike -> where the weight acts.
FIRST_TYPES = {
    "original": "V only",
    "linear": "K+V",
    "channel penalty": "K+mean(V) w/ C penalty",
}
# Filters of the first Prep Image For ClipVision that have another name in Pillow.
FIRST_FILTERS = {"area": "BOX", "nearest-exact": "NEAREST"}


def current_filter(name: str) -> str:
    """The name that a filter from an old workflow has today: the first ones were in lower case."""
    return FIRST_FILTERS.get(name, name.upper())


def current_name(weight_type: str) -> str:
    """The name that a weight type from an old workflow has today; any other name as it is."""
    return RENAMED.get(weight_type, weight_type)


def layers_and_scaling(weight_type: str) -> tuple[str, str]:
    """The weight type and the embeds scaling that a weight type of the first apply nodes stands for."""
    if weight_type in FIRST_TYPES:
        return "linear", FIRST_TYPES[weight_type]
    return weight_type, "V only"

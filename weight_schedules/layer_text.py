"""Weights of layers written as text: `3:2.5, 6:1.0`, `0-3:0.5`, `mid:0.2, up`, `input8`, `style:1.2`.

Entries are separated by commas, semicolons or lines; an entry is a place and a factor (1 when left out). A layer that
is not named keeps nothing, and a later entry overrides an earlier one. The older `index:factor` lists are a subset.
"""

import math
import re
from collections.abc import Callable

from ..ipadapter.families import roles_of_blocks
from ..ipadapter.sites import STRUCTURES, UNET, structure_of_blocks
from .layers import Blocks, roles_of
from .steps import LARGEST

PARTS = {"down": "input", "mid": "middle", "up": "output"}
PART_WORDS = {**PARTS, **{part: part for structure in STRUCTURES for part in structure.parts}}
ANY_PART = "|".join(part for structure in STRUCTURES for part in structure.parts)
DIFFUSERS = {"input": "down_blocks", "output": "up_blocks"}
NUMBER = r"\d{1,9}"  # more digits are no layer's, and Python reads no number of thousands of them
RANGE = re.compile(rf"({NUMBER})\s*(?:-|–|\.\.)\s*({NUMBER})")
BLOCK = re.compile(
    rf"({ANY_PART})(?:_blocks?)?[ ._]?({NUMBER})(?:\s*(?:-|–|\.\.)\s*(?:\1)?(?:_blocks?)?[ ._]?({NUMBER}))?"
)
PATH = re.compile(r"(?:unet\.)?(down_blocks|mid_block|up_blocks)(?:\.(\d+))?(?:\.attentions\.(\d+))?")

Gains = dict[int, float]  # layer -> share of the factor that it gets
Reading = Callable[[str, Blocks], Gains | None]  # None: not written this way


def layer_names(blocks: Blocks) -> list[str]:
    """ComfyUI's name of each layer: `input 8`, `middle 0`, `output 1`."""
    return [f"{part} {number}" for part, number in blocks]


def layer_titles(blocks: Blocks) -> list[str]:
    """Number, name and, where it is known, role of each layer: `6  output 1  style`."""
    roles = roles_of_blocks(blocks)
    words = [roles.word(layer) if roles else "" for layer in range(len(blocks))]
    return [
        f"{layer}  {name}  {word}".rstrip()
        for layer, (name, word) in enumerate(zip(layer_names(blocks), words, strict=True))
    ]


def diffusers_path(block: tuple[str, int]) -> str:
    """The same layer in diffusers' words, for full SD1.5 and SDXL UNets (two residual blocks per level)."""
    part, number = block
    if part == "middle":
        return f"mid_block.attentions.{number}"
    # Input blocks: one convolution, then per level two layers and a downsampler. Output blocks: three per level.
    level, attention = divmod(number - 1 if part == "input" else number, 3)
    return f"{DIFFUSERS[part]}.{level}.attentions.{attention}"


def _all(place: str, blocks: Blocks) -> Gains | None:
    return {layer: 1.0 for layer in range(len(blocks))} if place == "all" else None


def _number(place: str, blocks: Blocks) -> Gains | None:
    return {int(place): 1.0} if re.fullmatch(NUMBER, place) else None


def _range(place: str, blocks: Blocks) -> Gains | None:
    match = RANGE.fullmatch(place)
    if match is None:
        return None
    first, last = sorted(int(end) for end in match.groups())
    if last >= len(blocks):
        return {last: 1.0}  # the caller names the layer that does not exist
    return {layer: 1.0 for layer in range(first, last + 1)}


def _part(place: str, blocks: Blocks) -> Gains | None:
    part = PART_WORDS.get(place)
    return None if part is None else {layer: 1.0 for layer, block in enumerate(blocks) if block[0] == part}


def _block(place: str, blocks: Blocks) -> Gains | None:
    match = BLOCK.fullmatch(place)
    if match is None:
        return None
    part, first = match[1], int(match[2])
    last = first if match[3] is None else int(match[3])
    return {layer: 1.0 for layer, block in enumerate(blocks) if block[0] == part and first <= block[1] <= last}


def _path(place: str, blocks: Blocks) -> Gains | None:
    if PATH.fullmatch(place) is None:
        return None
    if roles_of_blocks(blocks) is None:
        raise ValueError(
            f"diffusers paths such as {place!r:.80} are known for SD1.5 and SDXL; this model has {len(blocks)} layers. "
            f"Write one of: {_valid(blocks)}."
        )
    place = place.removeprefix("unet.")
    paths = [diffusers_path(block) for block in blocks]
    return {layer: 1.0 for layer, path in enumerate(paths) if path == place or path.startswith(place + ".")}


def _role(place: str, blocks: Blocks) -> Gains | None:
    if place == "style":
        return dict.fromkeys(sorted(roles_of(blocks, place).style), 1.0)
    if place in ("composition", "layout"):
        return dict(roles_of(blocks, place).composition)
    return None


READINGS: tuple[Reading, ...] = (_all, _number, _range, _part, _block, _path, _role)


def parse_layer_text(text: str, blocks: Blocks) -> tuple[float, ...]:
    """One factor per layer, (layers,), of a layer text for a model with these blocks.

    ValueError names the entry that cannot be read, and lists the layers the model has.
    """
    factors = [0.0] * len(blocks)
    entries = [entry.strip() for entry in re.split(r"[,;\n]", text)]
    if not any(entries):
        raise ValueError(
            f"The layer weights are empty. Write for instance '3:2.5, 6:1.0', or one of: {_valid(blocks)}."
        )
    for entry in filter(None, entries):
        place, colon, factor = (part.strip() for part in entry.partition(":"))
        value = _factor(factor, entry) if colon else 1.0
        for layer, gain in _find(place.lower(), entry, blocks).items():
            factors[layer] = gain * value
    return tuple(factors)


def _factor(text: str, entry: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:  # NaN too
        raise ValueError(
            f"In {entry!r:.80} of the layer weights, {text!r:.80} is no number from -{LARGEST:g} to {LARGEST:g}. "
            "Expected for instance '3:2.5'."
        )
    return value


def _find(place: str, entry: str, blocks: Blocks) -> Gains:
    readings = (read(place, blocks) for read in READINGS)
    gains = next((gains for gains in readings if gains is not None), None)
    if not gains or max(gains) >= len(blocks):
        raise ValueError(
            f"In {entry!r:.80} of the layer weights, {place!r:.80} is no layer of this model. It has: {_valid(blocks)}."
        )
    return gains


def _valid(blocks: Blocks) -> str:
    if structure_of_blocks(blocks) is not UNET:
        parts = dict.fromkeys(part for part, _ in blocks)
        numbers = {part: [layer for layer, block in enumerate(blocks) if block[0] == part] for part in parts}
        names = ", ".join(f"{of[0]}-{of[-1]} ({part}0-{blocks[of[-1]][1]})" for part, of in numbers.items())
        return f"{names}; also {', '.join(parts)}, and all"
    names = ", ".join(f"{layer} ({name})" for layer, name in enumerate(layer_names(blocks)))
    roles = ", style, composition" if roles_of_blocks(blocks) else ""
    return f"{names}; also ranges like 0-3, and all, down, mid, up{roles}"

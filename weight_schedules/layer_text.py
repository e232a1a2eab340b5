"""Weights of layers written as text: `3:2.5, 6:1.0`, `0-3:0.5`, `mid:0.2, up`, `input8`, `style:1.2`.

Entries are separated by commas, semicolons or lines. An entry names layers and gives them a factor, 1 if left out. A
layer that no entry names has factor 0, and a later entry overrides an earlier entry. The older `index:factor` lists are
a subset.
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
NUMBER = r"\d{1,9}"  # no layer has more digits, and Python refuses to read numbers of more than 4,300 digits
RANGE = re.compile(rf"({NUMBER})\s*(?:-|–|\.\.)\s*({NUMBER})")
BLOCK = re.compile(
    rf"({ANY_PART})(?:_blocks?)?[ ._]?({NUMBER})(?:\s*(?:-|–|\.\.)\s*(?:\1)?(?:_blocks?)?[ ._]?({NUMBER}))?"
)
PATH = re.compile(r"(?:unet\.)?(down_blocks|mid_block|up_blocks)(?:\.(\d+))?(?:\.attentions\.(\d+))?")

Gains = dict[int, float]  # layer -> its share of the factor
Reading = Callable[[str, Blocks], Gains | None]  # None: the name has another form


def layer_names(blocks: Blocks) -> list[str]:
    """ComfyUI's name of each layer: `input 8`, `middle 0`, `output 1`."""
    return [f"{part} {number}" for part, number in blocks]


def layer_titles(blocks: Blocks) -> list[str]:
    """Number, name and, if known, role of each layer: `6  output 1  style`."""
    roles = roles_of_blocks(blocks)
    words = [roles.word(layer) if roles else "" for layer in range(len(blocks))]
    return [
        f"{layer}  {name}  {word}".rstrip()
        for layer, (name, word) in enumerate(zip(layer_names(blocks), words, strict=True))
    ]


def diffusers_path(block: tuple[str, int]) -> str:
    """diffusers' path of a layer, for full SD1.5 and SDXL UNets (two residual blocks per level)."""
    part, number = block
    if part == "middle":
        return f"mid_block.attentions.{number}"
    # Input blocks are a convolution, then two layers and a downsampler per level. Output blocks are three per level.
    level, attention = divmod(number - 1 if part == "input" else number, 3)
    return f"{DIFFUSERS[part]}.{level}.attentions.{attention}"


def _all(name: str, blocks: Blocks) -> Gains | None:
    return {layer: 1.0 for layer in range(len(blocks))} if name == "all" else None


def _number(name: str, blocks: Blocks) -> Gains | None:
    return {int(name): 1.0} if re.fullmatch(NUMBER, name) else None


def _range(name: str, blocks: Blocks) -> Gains | None:
    match = RANGE.fullmatch(name)
    if match is None:
        return None
    first, last = sorted(int(end) for end in match.groups())
    if last >= len(blocks):
        return {last: 1.0}  # a layer that does not exist, which the caller's message names
    return {layer: 1.0 for layer in range(first, last + 1)}


def _part(name: str, blocks: Blocks) -> Gains | None:
    part = PART_WORDS.get(name)
    return None if part is None else {layer: 1.0 for layer, block in enumerate(blocks) if block[0] == part}


def _block(name: str, blocks: Blocks) -> Gains | None:
    match = BLOCK.fullmatch(name)
    if match is None:
        return None
    part, first = match[1], int(match[2])
    last = first if match[3] is None else int(match[3])
    return {layer: 1.0 for layer, block in enumerate(blocks) if block[0] == part and first <= block[1] <= last}


def _path(name: str, blocks: Blocks) -> Gains | None:
    if PATH.fullmatch(name) is None:
        return None
    if roles_of_blocks(blocks) is None:
        raise ValueError(
            f"diffusers paths such as {name!r:.80} are known for SD1.5 and SDXL; this model has {len(blocks)} layers. "
            f"Write one of: {_valid(blocks)}."
        )
    name = name.removeprefix("unet.")
    paths = [diffusers_path(block) for block in blocks]
    return {layer: 1.0 for layer, path in enumerate(paths) if path == name or path.startswith(name + ".")}


def _role(name: str, blocks: Blocks) -> Gains | None:
    if name == "style":
        return dict.fromkeys(sorted(roles_of(blocks, name).style), 1.0)
    if name in ("composition", "layout"):
        return dict(roles_of(blocks, name).composition)
    return None


READINGS: tuple[Reading, ...] = (_all, _number, _range, _part, _block, _path, _role)


def parse_layer_text(text: str, blocks: Blocks) -> tuple[float, ...]:
    """The factor of each layer of a model with these blocks, (layers,).

    ValueError quotes the entry that cannot be read and lists the layers of the model.
    """
    factors = [0.0] * len(blocks)
    entries = [entry.strip() for entry in re.split(r"[,;\n]", text)]
    if not any(entries):
        raise ValueError(
            f"The layer weights are empty. Write for instance '3:2.5, 6:1.0', or one of: {_valid(blocks)}."
        )
    for entry in filter(None, entries):
        name, colon, factor = (part.strip() for part in entry.partition(":"))
        value = _factor(factor, entry) if colon else 1.0
        for layer, gain in _gains_of(name.lower(), entry, blocks).items():
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


def _gains_of(name: str, entry: str, blocks: Blocks) -> Gains:
    readings = (read(name, blocks) for read in READINGS)
    gains = next((gains for gains in readings if gains is not None), None)
    if not gains or max(gains) >= len(blocks):
        raise ValueError(
            f"In {entry!r:.80} of the layer weights, {name!r:.80} is no layer of this model. It has: {_valid(blocks)}."
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

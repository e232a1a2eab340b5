"""One weight per layer for each named weight type.

A layer of a UNet is a spatial transformer; layers are numbered in the order in which they run: input, middle, output
blocks. In a diffusion transformer every block is a layer, and there are no input, middle and output blocks.
The layers that carry style and composition are from InstantStyle, arXiv:2404.02733, and B-LoRA, arXiv:2403.14572.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ipadapter.families import Block, Roles, roles_of_blocks
from ..ipadapter.sites import UNET, structure_of_blocks
from . import easing

Blocks = Sequence[Block]

FLOOR = 0.05  # an eased layer keeps this share of its weight
WEAK = 0.2  # share that a weakened part of the UNet keeps
TRACE = 0.1  # share that layers without a role keep in "composition precise"


@dataclass(frozen=True)
class Numbers:
    """The numbers of a weight type: the weight, the weight of composition layers, and the weight of layers that push
    away.
    """

    weight: float
    composition: float
    boost: float


@dataclass(frozen=True)
class LayerWeights:
    """One weight per layer, (layers,). In `swapped` layers only the negative branch gets the reference, which pushes
    the result away from the reference.
    """

    weights: tuple[float, ...]
    swapped: frozenset[int] = frozenset()


def roles_of(blocks: Blocks, wanted_for: str) -> Roles:
    """The layers of a model that carry style and composition.

    ValueError if they are unknown; `wanted_for` is the setting that needs them, for the message.
    """
    roles = roles_of_blocks(blocks)
    if roles is None and structure_of_blocks(blocks) is not UNET:
        raise ValueError(_unknown_in_transformers(wanted_for, "which layers carry style and composition", blocks))
    if roles is None:
        raise ValueError(
            f"'{wanted_for}' needs to know which layers carry style and composition: known for SD1.5 (16 layers) and "
            f"SDXL (11 layers), and this model has {len(blocks)}. Use linear, an ease, weak or strong middle type, "
            "or layer numbers."
        )
    return roles


def _unknown_in_transformers(wanted_for: str, unknown: str, blocks: Blocks) -> str:
    names = " and ".join(dict.fromkeys(part for part, _ in blocks))
    return (
        f"'{wanted_for}' needs to know {unknown}, which nobody has published for a transformer such as this, with its "
        f"{len(blocks)} {names} blocks. Use linear, ease in, ease out, ease in-out, reverse in-out, or layer weights "
        "such as 0-9:1.0; an IPAdapter Layer Sweep shows what each block does."
    )


@dataclass(frozen=True)
class LayerRule:
    """The functions of a weight type: the weight of each layer, (layers,), and the layers that push away."""

    weigh: Callable[[Numbers, Blocks], tuple[float, ...]]
    pushed: Callable[[Blocks], frozenset[int]] = lambda blocks: frozenset()


def _eased(curve: easing.Curve) -> LayerRule:
    # Divided by the number of layers, not by the last layer's number, so the last layer does not reach the curve's end:
    # the formula of existing workflows.
    def weigh(numbers: Numbers, blocks: Blocks) -> tuple[float, ...]:
        shares = (FLOOR + (1 - FLOOR) * curve(layer / len(blocks)) for layer in range(len(blocks)))
        return tuple(numbers.weight * share for share in shares)

    return LayerRule(weigh)


def _weak_in(name: str, *parts: str) -> LayerRule:
    def weigh(numbers: Numbers, blocks: Blocks) -> tuple[float, ...]:
        if structure_of_blocks(blocks) is not UNET:
            raise ValueError(_unknown_in_transformers(name, "a UNet's input, middle and output blocks", blocks))
        return tuple(numbers.weight * (WEAK if part in parts else 1.0) for part, _ in blocks)

    return LayerRule(weigh)


RoleRule = Callable[[Numbers, Roles, int], float]


def _by_role(name: str, weight: RoleRule, pushed: Callable[[Roles, int], bool] | None = None) -> LayerRule:
    def weigh(numbers: Numbers, blocks: Blocks) -> tuple[float, ...]:
        roles = roles_of(blocks, name)
        return tuple(weight(numbers, roles, layer) for layer in range(len(blocks)))

    def layers(blocks: Blocks) -> frozenset[int]:
        if pushed is None:
            return frozenset()
        roles = roles_of(blocks, name)
        return frozenset(layer for layer in range(len(blocks)) if pushed(roles, layer))

    return LayerRule(weigh, layers)


def _style(numbers: Numbers, roles: Roles, layer: int) -> float:
    return numbers.weight if layer in roles.style else 0.0


def _composition(numbers: Numbers, roles: Roles, layer: int) -> float:
    return roles.gain(layer) * numbers.weight


def _strong_style(numbers: Numbers, roles: Roles, layer: int) -> float:
    return 0.0 if layer in roles.composition else numbers.weight


def _style_and_composition(numbers: Numbers, roles: Roles, layer: int) -> float:
    return numbers.weight if layer in roles.style else roles.gain(layer) * numbers.composition


def _strong_style_and_composition(numbers: Numbers, roles: Roles, layer: int) -> float:
    return numbers.composition if layer in roles.composition else numbers.weight


def _style_precise(numbers: Numbers, roles: Roles, layer: int) -> float:
    return numbers.weight if layer in roles.style else roles.gain(layer) * numbers.boost


def _composition_precise(numbers: Numbers, roles: Roles, layer: int) -> float:
    if layer in roles.composition:
        return roles.gain(layer) * numbers.weight
    return numbers.boost if layer in roles.style else TRACE * numbers.boost


RULES: dict[str, LayerRule] = {
    "linear": LayerRule(lambda numbers, blocks: (numbers.weight,) * len(blocks)),
    "ease in": _eased(easing.fall),
    "ease out": _eased(easing.rise),
    "ease in-out": _eased(easing.peak),
    "reverse in-out": _eased(easing.valley),
    "weak input": _weak_in("weak input", "input"),
    "weak output": _weak_in("weak output", "output"),
    "weak middle": _weak_in("weak middle", "middle"),
    "strong middle": _weak_in("strong middle", "input", "output"),
    "style transfer": _by_role("style transfer", _style),
    "composition": _by_role("composition", _composition),
    "strong style transfer": _by_role("strong style transfer", _strong_style),
    "style and composition": _by_role("style and composition", _style_and_composition),
    "style transfer precise": _by_role(
        "style transfer precise", _style_precise, pushed=lambda roles, layer: layer in roles.composition
    ),
    "composition precise": _by_role(
        "composition precise", _composition_precise, pushed=lambda roles, layer: layer not in roles.composition
    ),
    "strong style and composition": _by_role("strong style and composition", _strong_style_and_composition),
}
INTERNAL_TYPES = ("strong style and composition",)  # chosen by a switch of the Style & Composition node, in no list
WEIGHT_TYPES: list[str] = [name for name in RULES if name not in INTERNAL_TYPES]


def weigh_layers(
    weight_type: str,
    weight: float,
    blocks: Blocks,
    *,
    composition_weight: float | None = None,
    boost: float | None = None,
) -> LayerWeights:
    """One weight per layer for a named weight type, and the layers that push away.

    `composition_weight` is the weight of composition layers in the two "style and composition" types. `boost` is the
    weight of the layers that a precise type pushes away. Either is `weight` if None. ValueError for an unknown type,
    and for a type that needs the roles of layers on a model whose roles are unknown.
    """
    rule = rule_of(weight_type)
    composition = weight if composition_weight is None else composition_weight
    numbers = Numbers(weight, composition, weight if boost is None else boost)
    return LayerWeights(rule.weigh(numbers, blocks), rule.pushed(blocks))


def rule_of(weight_type: str) -> LayerRule:
    """The rule of a named weight type; ValueError lists the known types."""
    if weight_type not in RULES:
        raise ValueError(f"Unknown weight type {weight_type!r:.80}. Known: {', '.join(RULES)}.")
    return RULES[weight_type]

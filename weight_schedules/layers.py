"""One weight per layer for each named weight type.

A layer is a spatial transformer, numbered in the order in which the UNet runs them: input, middle, output blocks.
Which layers carry style and which composition: InstantStyle, arXiv:2404.02733, and B-LoRA, arXiv:2403.14572.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import easing

Block = tuple[str, int]  # the host's address of a layer: ("input", 8), ("middle", 0), ("output", 1)
Blocks = Sequence[Block]

FLOOR = 0.05  # an eased layer keeps this share of its weight
WEAK = 0.2  # share that a weakened part of the UNet keeps
TRACE = 0.1  # share that layers without a role keep in "composition precise"


@dataclass(frozen=True)
class Roles:
    """What the layers of a family are known to carry; `composition` also says how much of the weight each one gets."""

    family: str
    style: frozenset[int]
    composition: dict[int, float]

    def gain(self, layer: int) -> float:
        return self.composition.get(layer, 0.0)

    def word(self, layer: int) -> str:
        """`style`, `composition` or nothing."""
        return "style" if layer in self.style else "composition" if layer in self.composition else ""


SD15 = Roles("SD1.5", frozenset({0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15}), {4: 0.25, 5: 1.0})
SDXL = Roles("SDXL", frozenset({6}), {3: 1.0})
FAMILIES = {16: SD15, 11: SDXL}  # by the number of layers
FAMILY_BLOCKS: dict[str, tuple[Block, ...]] = {  # where the layers of the full UNets are, in the order they run
    "SD1.5": (
        *(("input", number) for number in (1, 2, 4, 5, 7, 8)),
        ("middle", 0),
        *(("output", number) for number in range(3, 12)),
    ),
    "SDXL": (
        *(("input", number) for number in (4, 5, 7, 8)),
        ("middle", 0),
        *(("output", number) for number in range(6)),
    ),
}


@dataclass(frozen=True)
class Strength:
    """The numbers of an apply node: its weight, that of its composition layers, and the weight it pushes away with."""

    weight: float
    composition: float
    boost: float


def known_roles(blocks: Blocks) -> Roles | None:
    """Style and composition layers of a full SD1.5 or SDXL UNet, None for any other."""
    return FAMILIES.get(len(blocks))


def roles_of(blocks: Blocks, wanted_for: str) -> Roles:
    """The same, or a ValueError saying why `wanted_for` needs them."""
    roles = known_roles(blocks)
    if roles is None:
        raise ValueError(
            f"'{wanted_for}' needs to know which layers carry style and composition: known for SD1.5 (16 layers) and "
            f"SDXL (11 layers), and this model has {len(blocks)}. Use linear, an ease, weak or strong middle type, "
            "or layer numbers."
        )
    return roles


def _eased(curve: easing.Curve) -> "LayerRule":
    # Divided by the number of layers, not by the last layer's number: the reference never quite reaches the end.
    return lambda s, blocks: [s.weight * (FLOOR + (1 - FLOOR) * curve(t / len(blocks))) for t in range(len(blocks))]


def _weak_in(*parts: str) -> "LayerRule":
    return lambda s, blocks: [s.weight * (WEAK if part in parts else 1.0) for part, _ in blocks]


RoleRule = Callable[[Strength, Roles, int], float]


def _by_role(name: str, rule: RoleRule) -> "LayerRule":
    def weights(strength: Strength, blocks: Blocks) -> list[float]:
        roles = roles_of(blocks, name)
        return [rule(strength, roles, layer) for layer in range(len(blocks))]

    return weights


def _style(s: Strength, roles: Roles, layer: int) -> float:
    return s.weight if layer in roles.style else 0.0


def _composition(s: Strength, roles: Roles, layer: int) -> float:
    return roles.gain(layer) * s.weight


def _strong_style(s: Strength, roles: Roles, layer: int) -> float:
    return 0.0 if layer in roles.composition else s.weight


def _style_and_composition(s: Strength, roles: Roles, layer: int) -> float:
    return s.weight if layer in roles.style else roles.gain(layer) * s.composition


def _strong_style_and_composition(s: Strength, roles: Roles, layer: int) -> float:
    return s.composition if layer in roles.composition else s.weight


def _style_precise(s: Strength, roles: Roles, layer: int) -> float:
    return s.weight if layer in roles.style else roles.gain(layer) * s.boost


def _composition_precise(s: Strength, roles: Roles, layer: int) -> float:
    if layer in roles.composition:
        return roles.gain(layer) * s.weight
    return s.boost if layer in roles.style else TRACE * s.boost


LayerRule = Callable[[Strength, Blocks], list[float]]

ROLE_RULES: dict[str, RoleRule] = {
    "style transfer": _style,
    "composition": _composition,
    "strong style transfer": _strong_style,
    "style and composition": _style_and_composition,
    "style transfer precise": _style_precise,
    "composition precise": _composition_precise,
    "strong style and composition": _strong_style_and_composition,
}
RULES: dict[str, LayerRule] = {
    "linear": lambda s, blocks: [s.weight] * len(blocks),
    "ease in": _eased(easing.fall),
    "ease out": _eased(easing.rise),
    "ease in-out": _eased(easing.peak),
    "reverse in-out": _eased(easing.valley),
    "weak input": _weak_in("input"),
    "weak output": _weak_in("output"),
    "weak middle": _weak_in("middle"),
    "strong middle": _weak_in("input", "output"),
    **{name: _by_role(name, rule) for name, rule in ROLE_RULES.items()},
}
INTERNAL_TYPES = ("strong style and composition",)  # reached by a switch of the Style & Composition node, never listed
WEIGHT_TYPES: list[str] = [name for name in RULES if name not in INTERNAL_TYPES]


def layer_weights(
    weight_type: str,
    weight: float,
    blocks: Blocks,
    *,
    composition_weight: float | None = None,
    boost: float | None = None,
) -> tuple[float, ...]:
    """One weight per layer, (layers,), for a named weight type.

    `composition_weight` is that of the composition layers in the two "style and composition" types, `boost` that of the
    layers a precise type pushes away; None takes `weight`. ValueError for an unknown type, and for a type by role on a
    model whose roles are not known.
    """
    if weight_type not in RULES:
        raise ValueError(f"Unknown weight type '{weight_type}'. Known: {', '.join(RULES)}.")
    composition = weight if composition_weight is None else composition_weight
    strength = Strength(weight, composition, weight if boost is None else boost)
    return tuple(RULES[weight_type](strength, blocks))


def swapped_layers(weight_type: str, blocks: Blocks) -> frozenset[int]:
    """Layers where a precise type shows the reference to the negative branch only, which pushes it away."""
    if weight_type not in ("style transfer precise", "composition precise"):
        return frozenset()
    composition = frozenset(roles_of(blocks, weight_type).composition)
    return composition if weight_type == "style transfer precise" else frozenset(range(len(blocks))) - composition

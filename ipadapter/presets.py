"""The presets of the unified loaders: an adapter for each model family, with the LoRA and face pack it needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from . import catalog
from .config import AdapterConfig
from .families import Family
from .peek import EncoderSizes
from .published import Published


@dataclass(frozen=True)
class Preset:
    """Adapters and their LoRAs by model family, and the face pack that they need.

    Of several adapters for a family the first is the preset's own. Others are loaded where the first is missing.
    """

    versions: Mapping[str, tuple[Published, ...]]
    loras: Mapping[str, Published]
    face_pack: str | None

    @property
    def adapters(self) -> dict[str, Published]:
        """The preset's own adapter for each family."""
        return {family: files[0] for family, files in self.versions.items()}

    @property
    def of_pulid(self) -> bool:
        """Whether the adapters are PuLIDs, which read the EVA02-CLIP encoder."""
        return all(file.encoder == catalog.EVA for file in self.adapters.values())


def _preset(name: str) -> Preset:
    files = [file for file in catalog.ADAPTERS if file.preset == name]
    packs = {file.face_pack for file in files}
    assert len(packs) == 1, f"the adapters of {name} need different face packs"
    versions = {
        family: tuple(file for file in files if file.family == family)
        for family in dict.fromkeys(file.family for file in files)
    }
    loras = {file.family: file for file in catalog.LORAS if file.preset == name}
    return Preset(versions, loras, packs.pop() or None)


def _presets(*names: str) -> dict[str, Preset]:
    return {name: _preset(name) for name in names}


GENERAL = _presets(
    catalog.LIGHT, catalog.STANDARD, catalog.VIT_G_PRESET, catalog.PLUS, catalog.PLUS_FACE, catalog.FULL_FACE
)  # fmt: skip
FACES = _presets(
    catalog.FACEID, catalog.FACEID_PLUS, catalog.FACEID_PLUS_V2, catalog.FACEID_PORTRAIT, catalog.FACEID_UNNORM,
    catalog.FACEID_KOLORS, *catalog.IDENTITY_PRESETS,
)  # fmt: skip
COMMUNITY = _presets("Composition", "Kolors", *catalog.TRANSFORMER_PRESETS, catalog.ANIME)
PRESETS: dict[str, Preset] = {**GENERAL, **FACES, **COMMUNITY}


def presets_of(family: Family) -> list[str]:
    """The names of the presets whose adapters run on a family of models."""
    return [name for name, preset in PRESETS.items() if any(runs in preset.adapters for runs in family.presets)]


def encoders_for(config: AdapterConfig) -> list[Published]:
    """The published encoders whose embeds have the kind and width that an adapter takes; none for unread ones."""
    if config.training.unread_encoder:
        return []
    fits = (file for file in catalog.ENCODERS if config.takes in file.gives and file.sizes)
    return [file for file in fits if file.sizes and EncoderSizes(*file.sizes).gives(config)]


def encoder_fits(sizes: EncoderSizes, config: AdapterConfig, name: str) -> bool:
    """Whether an adapter runs with an encoder of these sizes, in a file of this name.

    They must be the sizes of one of `encoders_for` the adapter, and the name not that of another encoder with these
    sizes. If there is no such encoder, the width must fit.
    """
    published = encoders_for(config)
    if not published:
        return sizes.gives(config) and not config.training.unread_encoder
    return any(file.sizes and EncoderSizes(*file.sizes) == sizes and not file.is_other(name) for file in published)


def same_tensors(file: Published) -> list[Published]:
    """The other published adapters with the same variant, family and embeds, so that only their names differ."""

    def tensors(each: Published) -> tuple[str, str, int | None]:
        return each.variant, each.family, each.embed_dim

    return [each for each in catalog.ADAPTERS if each is not file and tensors(each) == tensors(file)]

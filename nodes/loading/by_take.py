"""Choose the adapter for a choice of IPAdapter Reference, among the files on the disk."""

from dataclasses import dataclass
from pathlib import Path

from comfy.model_patcher import ModelPatcher

from ...doctor.verdicts import Verdict
from ...ipadapter.base_models import warning
from ...ipadapter.errors import AdapterError, ModelMismatchError, NoAdapterError
from ...ipadapter.families import Family
from ...ipadapter.peek import facts_of
from ...ipadapter.presets import PRESETS
from ...ipadapter.takes import TAKES, WHOLE_PICTURE, Recipe, recipes_for
from ..sampling.attach import sites_of
from .adapters import load_adapter
from .by_preset import Bundle, FaceSettings, anime_base_of_model, load_preset, model_family, refuse_other_blocks
from .demo_models import ADAPTERS, FOLDER, is_demo_model, load_vision
from .downloads import look_at

WITHOUT_COLOURS = ("layout", "character without its colours")
COLOURS_ALONE = (
    "The demo's models know a reference by its colours and manner alone, so with this choice the picture is nearly "
    "that without a reference. Models for real pictures take more."
)
LORA_STRENGTH = 0.6  # the default of the unified loader for FaceID


@dataclass(frozen=True)
class Chosen:
    """The model (with the LoRA of a FaceID preset), the adapter with its encoder and face models, the recipe of layers
    and weight, and the names of the files.
    """

    model: ModelPatcher
    pipeline: Bundle
    recipe: Recipe
    preset: str
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()


def choose(model: ModelPatcher, take: str) -> Chosen:
    """The best adapter for a choice of ipadapter/takes.py, among those whose files are all on the disk.

    Raises:
        NoAdapterError: no adapter was published for the model or for this choice with it, or files are missing or of
            other models; the message names them.
        AdapterError: the demo's models, and a choice for faces.
    """
    if is_demo_model(model):
        return _of_demo(model, take)
    try:
        family = model_family(model)
    except ModelMismatchError as error:
        raise NoAdapterError(str(error)) from None
    model_name, anime = anime_base_of_model(model)
    recipes = recipes_for(take, family, anime is not None)
    if not recipes:
        raise NoAdapterError(_impossible(take, family.title, bool(recipes_for("everything", family, False))))
    for preset, recipe in recipes:
        found = look_at(preset, family.name)
        if not found.runs or not _fits(model, found.files[0]):
            continue
        settings = FaceSettings(0.0 if found.note else LORA_STRENGTH)
        patched, pipeline = load_preset(model, preset, PRESETS, None, settings)
        adapter = pipeline["ipadapter"]["model"]
        notes = (found.note, warning(adapter.name, adapter.config, model_name, anime))
        names = tuple(path.name for path in found.files)
        return Chosen(patched, pipeline, recipe, preset, names, tuple(filter(None, notes)))
    refuse_other_blocks(model, family)
    raise NoAdapterError(_missing(take, look_at(recipes[0][0], family.name), family))


def _fits(model: ModelPatcher, adapter: Path) -> bool:
    """Whether an adapter's file has weights for the blocks of a model, which relatives of its family lack."""
    config = facts_of(adapter).adapter
    assert config is not None  # the verdict on its preset
    try:
        config.mechanism.match([site for site in sites_of(model) if site.block[0] in config.mechanism.parts], config)
    except ModelMismatchError:
        return False
    return True


def _of_demo(model: ModelPatcher, take: str) -> Chosen:
    """Like `choose`, for the demo's model and the adapters that come with the pack."""
    recipe = next((recipe for recipe in TAKES[take].recipes if recipe.presets is WHOLE_PICTURE), None)
    if recipe is None:
        raise AdapterError(f"The demo's models draw no faces, so {take!r} is not possible with them.")
    file = ADAPTERS["plus"]
    pipeline: Bundle = {
        "ipadapter": {"file": str(FOLDER / file), "model": load_adapter(FOLDER / file)},
        "clipvision": {"file": str(FOLDER / "vision.safetensors"), "model": load_vision()},
        "insightface": {"provider": None, "model": None},
    }
    notes = (COLOURS_ALONE,) if take in WITHOUT_COLOURS else ()
    return Chosen(model, pipeline, recipe, "The demo's plus adapter", (file, "vision.safetensors"), notes)


def _impossible(take: str, title: str, has_adapters: bool) -> str:
    if not has_adapters:
        return f"No adapter was published for {title} models."
    possible = "'everything', at a lower strength if too much of the picture comes along"
    if TAKES[take].recipes[0].needs_roles or take == "layout":
        return (
            f"{take!r} needs to know which layers of the model carry style and composition, which nobody has published "
            f"for {title}. Choose {possible}."
        )
    return f"{take!r} needs an adapter for faces, and none was published for {title}. Choose {possible}."


def _missing(take: str, best: Verdict, family: Family) -> str:
    files = "; ".join(f"{file.name} from {file.source}" for file in best.missing)
    if not files:
        return f"No adapter for {take!r} runs with this {family.title} model. {best.why}"
    return (
        f"No adapter for {take!r} on {family.title} models is complete in the model folders. Best for it is the preset "
        f"{best.preset}, of which these files are missing: {files}. Get them with an IPAdapter Model Download: preset "
        f"{best.preset}, family {family.title}, download on."
    )

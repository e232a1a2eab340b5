"""IPAdapter Reference: a model, a picture, and a choice of what to take from the picture."""

from collections.abc import Hashable, Sequence

from comfy_api.latest import io
from torch import Tensor

from ..ipadapter.errors import AdapterError, NoAdapterError
from ..ipadapter.presets import PRESETS
from ..ipadapter.takes import TAKES, Recipe
from ..weight_schedules.schedule import Schedule, WeightSchedule
from ..weight_schedules.steps import StepCurve
from . import inputs
from .applying.apply import Request, Strength, apply_adapter
from .applying.encoding import Reference
from .applying.riding import Looks
from .applying.without_adapter import can_ride, needs_vae, ride_pictures, times
from .loading.by_take import Chosen, choose
from .loading.face_packs import fingerprint_of_packs
from .loading.search import fingerprint_of_preset
from .node import AtelierNode
from .notices import say_on_node
from .sockets import VAE, Model

TAKE = (
    "What comes along from the picture. The node chooses adapter, layers, weight and steps for it, and says which. "
    "'character without its colours' is an approximation."
)
STRENGTH = "How strongly the reference acts: 1 is the usual weight of the choice, 0 is off."
SECOND = (
    "A second picture. In 'style and layout' it gives the layout, and image gives the style. Otherwise both act, each "
    "with half the strength."
)
END = (
    "Part of the sampling at which the reference stops acting: 0 is the beginning, 1 the end. 'character without its "
    "colours' stops at 0.6 at the latest."
)
OWN_VAE = (
    "The model's own VAE. Only used where no adapter fits: everything and style then work through the model's "
    "self-attention. Experimental on Flux, Qwen-Image and other transformers."
)
DESCRIPTION = (
    "The first node to learn: a model follows a picture. It finds the adapter and the encoder that fit the model among "
    "your files, and says which it took."
)


class IPAdapterReference(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterReference",
            display_name="IPAdapter Reference",
            category="ipadapter",
            description=DESCRIPTION,
            search_aliases=[
                "ip-adapter", "ipa", "image prompt", "reference image", "style reference", "character reference",
                "face reference", "one node", "参考图", "风格参考", "角色参考", "人脸参考",
            ],
            inputs=[
                inputs.model(),
                inputs.image(),
                inputs.Choice("take", options=list(TAKES), tooltip=TAKE),
                inputs.weight("strength", minimum=0, maximum=2, tooltip=STRENGTH),
                inputs.attn_mask(),
                inputs.start_at(optional=True),
                inputs.end_at(END, optional=True),
                inputs.schedule(),
                inputs.image("image_2", SECOND, optional=True),
                io.Vae.Input("vae", optional=True, tooltip=OWN_VAE),
            ],
            outputs=[
                inputs.model_output(),
                inputs.ScheduleType.Output(
                    display_name="schedule",
                    tooltip="How strongly the reference acts in every layer at every step, for Schedule Preview.",
                ),
                io.String.Output(display_name="report", tooltip="The files that were taken, and how they act."),
            ],
        )  # fmt: skip

    @classmethod
    def fingerprint_inputs(cls, take: str | None = None, **_: object) -> Hashable:
        if take is None or take not in TAKES:  # None: arrives through a link
            return None
        presets = [PRESETS[name] for recipe in TAKES[take].recipes for name in recipe.presets]
        searched = [presets[0], *(preset for preset in presets if preset.loras)]  # all others search the same folders
        return tuple(map(fingerprint_of_preset, searched)), fingerprint_of_packs()

    @classmethod
    def run(
        cls,
        model: Model,
        image: Tensor,
        take: str,
        strength: float = 1.0,
        attn_mask: Tensor | None = None,
        start_at: float = 0.0,
        end_at: float = 1.0,
        schedule: Schedule | None = None,
        image_2: Tensor | None = None,
        vae: VAE | None = None,
    ) -> io.NodeOutput:
        looks = Looks(strength, start_at=start_at, end_at=end_at, mask=attn_mask, schedule=schedule)
        try:
            chosen = choose(model, take)
        except NoAdapterError as error:
            return without_adapter(model, vae, take, image, image_2, looks, error)
        return by_adapter(chosen, take, references_of(take, image, image_2), looks)


def without_adapter(
    model: Model,
    vae: VAE | None,
    take: str,
    image: Tensor,
    image_2: Tensor | None,
    looks: Looks,
    reason: NoAdapterError,
) -> io.NodeOutput:
    """The node's outputs where no adapter fits: the model runs on the pictures. Raises `reason` if it cannot."""
    if vae is None or not can_ride(model, take):
        raise needs_vae(model, take, reason) from None
    pictures = [image] if image_2 is None else [image, image_2]
    ridden = ride_pictures(model, vae, take, pictures, looks, reason)
    say_on_node(ridden.report)
    return io.NodeOutput(ridden.model, ridden.schedule, ridden.report)


def by_adapter(chosen: Chosen, take: str, references: Sequence[Reference], looks: Looks) -> io.NodeOutput:
    """The node's outputs with the adapter that was chosen; `looks` has the strength, which the references share, range,
    mask and schedule.
    """
    start_at, end_at = looks.start_at, min(looks.end_at, chosen.recipe.end_at)
    if start_at > end_at:
        raise AdapterError(
            f"start_at is {start_at:g}, and {take!r} acts until {end_at:g} here, so the reference would never act. "
            "Set start_at to a lower value."
        )
    report = report_of(take, chosen, looks.weight, start_at, end_at)
    say_on_node(report)  # before the reference is encoded: a note about its faces may replace the report
    each = schedule_of(chosen.recipe, looks.weight / len(references), StepCurve(), looks.schedule)
    strength = Strength(schedule=each, start_at=start_at, end_at=end_at, mask=looks.mask)
    applied = apply_adapter(chosen.model, chosen.pipeline, [Request(one, strength) for one in references])
    steps = StepCurve(start=start_at, end=end_at)
    return io.NodeOutput(applied.model, schedule_of(chosen.recipe, looks.weight, steps, looks.schedule), report)


def references_of(take: str, image: Tensor, image_2: Tensor | None) -> list[Reference]:
    """The references of one picture or two; two pictures keep their own sizes until they are encoded."""
    if image_2 is None:
        return [Reference(image, face_weight=1.0)]
    if TAKES[take].second_gives_layout:
        return [Reference(image, composition=image_2)]
    return [Reference(image, face_weight=1.0), Reference(image_2, face_weight=1.0)]


def schedule_of(recipe: Recipe, strength: float, steps: StepCurve, more: Schedule | None) -> Schedule:
    """The weight of every layer and step: the recipe's layers and weight times the strength times another schedule."""
    return times(WeightSchedule(recipe.layers, steps, scale=recipe.weight * strength), more)


def report_of(take: str, chosen: Chosen, strength: float, start_at: float, end_at: float) -> str:
    """The node's report: the files that it uses, and the layers, weight and range of the choice."""
    kind = TAKES[take]
    recipe = chosen.recipe
    layers = "all layers" if recipe.layers == "linear" else f"layers: {recipe.layers}"
    lines = [
        f"{take}: {kind.meaning}.{' This is an approximation.' if kind.approximate else ''}",
        f"{chosen.preset}: {', '.join(chosen.files)}.",
        f"{layers}; weight {recipe.weight * strength:g}; sampling {start_at:g} to {end_at:g}.",
        *chosen.notes,
    ]
    return "\n".join(lines)


NODES: list[type[io.ComfyNode]] = [IPAdapterReference]

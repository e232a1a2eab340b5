"""IPAdapter Reference: a model, a picture, and a choice of what to take from the picture."""

from collections.abc import Hashable

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


class IPAdapterReference(AtelierNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        take_tip = (
            "What comes along from the picture. The node chooses adapter, layers, weight and steps for it, and says "
            "which. 'character without its colours' is an approximation."
        )
        strength_tip = "How strongly the reference acts: 1 is the usual weight of the choice, 0 is off."
        second_tip = (
            "A second picture. In 'style and layout' it gives the layout, and image gives the style. Otherwise both "
            "act, each with half the strength."
        )
        end_tip = (
            "Part of the sampling at which the reference stops acting: 0 is the beginning, 1 the end. 'character "
            "without its colours' stops at 0.6 at the latest."
        )
        vae_tip = (
            "The model's own VAE. Only used where no adapter fits a UNet: everything and style then work through the "
            "model's self-attention."
        )
        return io.Schema(
            node_id="IPAdapterReference",
            display_name="IPAdapter Reference",
            category="ipadapter",
            description=(
                "The first node to learn: a model follows a picture. It finds the adapter and the encoder that fit the "
                "model among your files, and says which it took."
            ),
            search_aliases=[
                "ip-adapter", "ipa", "image prompt", "reference image", "style reference", "character reference",
                "one node", "参考图", "风格参考", "角色参考",
            ],
            inputs=[
                inputs.model(),
                inputs.image(),
                inputs.Choice("take", options=list(TAKES), tooltip=take_tip),
                inputs.weight("strength", minimum=0, maximum=2, tooltip=strength_tip),
                inputs.attn_mask(),
                io.Float.Input("start_at", default=0.0, min=0.0, max=1.0, step=0.001, optional=True,
                               tooltip=inputs.start_at().tooltip),
                io.Float.Input("end_at", default=1.0, min=0.0, max=1.0, step=0.001, optional=True, tooltip=end_tip),
                inputs.schedule(),
                inputs.image("image_2", second_tip, optional=True),
                io.Vae.Input("vae", optional=True, tooltip=vae_tip),
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
        try:
            chosen = choose(model, take)
        except NoAdapterError as error:
            if vae is None or not can_ride(model, take):
                raise needs_vae(model, take, error) from None
            pictures = [image] if image_2 is None else [image, image_2]
            looks = Looks(strength, start_at=start_at, end_at=end_at, mask=attn_mask, schedule=schedule)
            ridden = ride_pictures(model, vae, take, pictures, looks, error)
            say_on_node(ridden.report)
            return io.NodeOutput(ridden.model, ridden.schedule, ridden.report)
        end_at = min(end_at, chosen.recipe.end_at)
        if start_at > end_at:
            raise AdapterError(
                f"start_at is {start_at:g}, and {take!r} acts until {end_at:g} here, so the reference would never act. "
                "Set start_at to a lower value."
            )
        report = report_of(take, chosen, strength, start_at, end_at)
        say_on_node(report)  # before the reference is encoded: a note about its faces may replace the report
        references = references_of(take, image, image_2)
        each = strength / len(references)
        requests = [
            Request(
                reference,
                Strength(
                    schedule=schedule_of(chosen.recipe, each, StepCurve(), schedule),
                    start_at=start_at,
                    end_at=end_at,
                    mask=attn_mask,
                ),
            )
            for reference in references
        ]
        applied = apply_adapter(chosen.model, chosen.pipeline, requests)
        steps = StepCurve(start=start_at, end=end_at)
        return io.NodeOutput(applied.model, schedule_of(chosen.recipe, strength, steps, schedule), report)


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

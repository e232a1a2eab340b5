"""The blueprints in subgraphs/: blocks of a few nodes that appear in every user's node library."""

from dataclasses import dataclass, field

from .lesson import Canvas, Link, Outside

PLUS, FACE_ID = "PLUS (high strength)", "FACEID PLUS V2"


@dataclass
class Blueprint:
    """A block: its nodes, what comes out of it, and what it is for."""

    description: str
    canvas: Canvas = field(default_factory=Canvas)
    outputs: dict[str, Link] = field(default_factory=dict)


def unified(canvas: Canvas, kind: str = "IPAdapterUnifiedLoader", preset: str = PLUS) -> tuple[Link, Link]:
    """The model and the adapter of a preset, which finds the files for the model that is connected."""
    loader = canvas.add(kind, model=Outside("model"), preset=Outside("preset", preset))
    canvas.next()
    return loader[0], loader[1]


def one_reference() -> Blueprint:
    made = Blueprint("A picture to follow, by one node that finds the files for the connected model; for beginners.")
    applied = made.canvas.add(
        "IPAdapterReference", model=Outside("model"), image=Outside("image"), take=Outside("take", "everything"),
        strength=Outside("strength", 1.0), end_at=Outside("end_at", 1.0), attn_mask=Outside("attn_mask"),
    )  # fmt: skip
    made.canvas.next()
    made.canvas.add("IPAdapterSchedulePreview", schedule=applied[1], model=applied[0])
    made.outputs = {"model": applied[0], "schedule": applied[1], "report": applied[2]}
    return made


def style_reference() -> Blueprint:
    made = Blueprint("The look of a picture for any SD1.5 or SDXL model; the prompt says what is drawn.")
    model, adapter = unified(made.canvas)
    applied = made.canvas.add(
        "IPAdapterAdvanced", model=model, ipadapter=adapter, image=Outside("image"), weight=Outside("weight", 1.0),
        weight_type=Outside("weight_type", "style transfer"), end_at=Outside("end_at", 1.0),
    )  # fmt: skip
    made.outputs = {"model": applied[0]}
    return made


def person_reference() -> Blueprint:
    made = Blueprint("The person in a picture, by FaceID Plus V2 with its LoRA. For research only, like its models.")
    model, adapter = unified(made.canvas, "IPAdapterUnifiedLoaderFaceID", FACE_ID)
    applied = made.canvas.add(
        "IPAdapterFaceID", model=model, ipadapter=adapter, image=Outside("image"), weight=Outside("weight", 0.9),
        weight_faceidv2=Outside("weight_faceidv2", 1.0),
    )  # fmt: skip
    made.outputs = {"model": applied[0], "face": applied[1]}
    return made


def left_right_references() -> Blueprint:
    made = Blueprint("One picture for the left half of the canvas, another for the right half.")
    split = made.canvas.add(
        "IPAdapterSplitCanvas", canvas=Outside("latent"), split="columns", columns=2, softness=Outside("softness", 0.1)
    )
    model, adapter = unified(made.canvas)
    for number, side in enumerate(("left", "right"), 1):
        model = made.canvas.add(
            "IPAdapterAdvanced", side.capitalize(), model=model, ipadapter=adapter, image=Outside(f"{side} image"),
            attn_mask=split[number], weight=Outside(f"{side} weight", 0.8),
        )[0]  # fmt: skip
    made.outputs = {"model": model}
    return made


def reference_with_schedule() -> Blueprint:
    made = Blueprint("A reference whose weight changes over the steps: it fades out, or comes late.")
    schedule = made.canvas.add(
        "IPAdapterWeightSchedule", layers=Outside("layers", "linear"), steps=Outside("steps", "ease out"),
        low=Outside("low", 0.0), high=Outside("high", 1.0), start=Outside("start", 0.0), end=Outside("end", 1.0),
    )  # fmt: skip
    model, adapter = unified(made.canvas)
    applied = made.canvas.add(
        "IPAdapterAdvanced", model=model, ipadapter=adapter, image=Outside("image"), weight=Outside("weight", 0.8),
        schedule=schedule[0],
    )  # fmt: skip
    made.canvas.next()
    made.canvas.add("IPAdapterSchedulePreview", schedule=schedule[0], model=applied[0])
    made.outputs = {"model": applied[0], "schedule": schedule[0]}
    return made


BLUEPRINTS = {
    "One Reference": one_reference(),
    "Style Reference": style_reference(),
    "Person Reference": person_reference(),
    "Left and Right References": left_right_references(),
    "Reference with Schedule": reference_with_schedule(),
}

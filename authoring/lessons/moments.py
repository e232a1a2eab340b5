"""Lessons about moments and layers: when a reference acts, and where in the model."""

from .kits import Demo, Kit, StableDiffusion
from .registry import lesson


@lesson("start_and_end", StableDiffusion, Demo)
def start_and_end(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    fading = k.add("IPAdapterWeightSchedule", "Fades out", layers="linear", steps="ease out", low=0.0, high=1.0)[0]
    k.next()
    models = [
        k.apply(reference, "Early", weight=0.8, end_at=0.4),
        k.apply(reference, "Late", weight=0.8, start_at=0.4),
        k.apply(reference, "Fading", weight=0.8, schedule=fading),
    ]
    k.next()
    words = k.conditions("a fox in a forest, watercolor", "fish")
    latent = k.latent()
    k.add("IPAdapterSchedulePreview", "What the schedule does", schedule=fading, model=k.model)
    k.next()
    pictures = [k.sample(model, **words, latent_image=latent) for model in models]
    k.sheet(pictures, ["0 to 0.4", "0.4 to 1", "fading out"])


@lesson("weight_schedule", StableDiffusion, Demo)
def weight_schedule(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    coming = k.add(
        "IPAdapterWeightSchedule", "Style comes in", layers="linear", layer_text="style:1, 6-8:0.3", steps="ease in",
        low=0.3,
    )[0]  # fmt: skip
    leaving = k.add(
        "IPAdapterWeightSchedule", "Composition leaves", layers="linear", layer_text="composition",
        steps="cosine down", end=0.5,
    )[0]  # fmt: skip
    k.next()
    both = k.add("IPAdapterCombineSchedules", first=coming, second=leaving, method="composition from second")[0]
    k.add("IPAdapterSchedulePreview", schedule=both, model=k.model)
    applied = k.apply(reference, schedule=both)
    k.next()
    words = k.conditions("a fox in a forest, watercolor", "fish")
    latent = k.latent()
    k.next()
    picture = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("layer_sweep", StableDiffusion, Demo)
def layer_sweep(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    applied = k.apply(reference)
    k.next()
    words = k.conditions("a lighthouse on a cliff, waves, morning light", "house")
    latent = k.latent()
    k.next()
    settings = {"seed": 42, "control_after_generate": "fixed", **k.sampling}
    sweep = k.add(
        "IPAdapterLayerSweep", model=applied, **words, latent_image=latent, vae=k.vae, factors="1", cell=k.cell,
        **settings,
    )  # fmt: skip
    k.next()
    k.add("SaveImage", "Every layer alone", images=sweep[0], filename_prefix="atelier").part["size"] = [480, 900]


@lesson("attention_map", StableDiffusion)
def attention_map(k: Kit) -> None:
    k.models()
    reference = k.picture("person")
    k.next()
    applied = k.apply(reference)
    recorder = k.add("IPAdapterAttentionRecorder", model=applied)
    k.next()
    words = k.conditions("a portrait in a garden, oil painting", "")
    latent = k.latent()
    k.next()
    picture = k.sample(recorder[0], **words, latent_image=latent)
    k.save(picture)
    k.next()
    for layers in ("style", "composition"):
        title = f"Where the {layers} layers listened"
        k.add("IPAdapterAttentionMap", title, attention=recorder[1], image=picture, layers=layers)


@lesson("animation", StableDiffusion, Demo)
def animation(k: Kit) -> None:
    k.models()
    first, last = k.picture("style", "First"), k.picture("second", "Last")
    k.next()
    both = k.batch(first, last)
    timeline = k.add(
        "IPAdapterWeights", image=both, weights="1.0, 0.0", timing="linear", frames=8, method="shift batches"
    )
    k.next()
    applied = k.model
    for number, (weights, image) in enumerate(((0, 3), (1, 4)), 1):
        applied = k.add(
            "IPAdapterBatch", f"Reference {number} of every frame", model=applied, ipadapter=k.ipadapter,
            clip_vision=k.vision, image=timeline[image], weight=timeline[weights],
        )[0]  # fmt: skip
    k.next()
    words = k.conditions("a boat on a lake", "boat")
    width, height = k.size
    canvas = k.add("EmptyLatentImage", width=width, height=height, batch_size=timeline[2])[0]
    frames = k.add("LatentBatchSeedBehavior", samples=canvas, seed_behavior="fixed")[0]
    k.next()
    pictures = k.sample(applied, **words, latent_image=frames)
    k.next()
    k.add(
        "SaveAnimatedWEBP", images=pictures, filename_prefix="atelier", fps=4.0, lossless=False, quality=90,
        method="default",
    )  # fmt: skip
    k.save(pictures)

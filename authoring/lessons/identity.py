"""Lessons about one person in many pictures: InstantID, PuLID, and a comparison of ways to keep a face."""

from .kits import SDXL
from .lesson import Link, Node
from .people import face_pack
from .regions import halves
from .registry import lesson

INSTANTID, IDENTITY_NET = "instantid-ip-adapter.bin", "instantid-controlnet.safetensors"
PULID = "pulid_v1.1.safetensors"
PLUS_FACE, PLUS_V2 = "ip-adapter-plus-face_sdxl_vit-h.safetensors", "ip-adapter-faceid-plusv2_sdxl.bin"
SAILOR = "a portrait of a sailor on deck, storm, oil painting"


class Identity(SDXL):
    """SDXL with the models that keep a person: InstantID's are trained for these sizes, steps and guidance."""

    size = (1016, 1016)  # InstantID's training pictures of exactly 1024 pixels had watermarks
    wide = (1280, 768)
    sampling = {"steps": 30, "cfg": 4.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    adapters = SDXL.adapters | {"plus face": PLUS_FACE, "FaceID Plus V2": PLUS_V2}
    instantid: dict[str, Link]
    pulid: dict[str, Link]

    def instantid_models(self) -> None:
        """InstantID's adapter, its face pack and its ControlNet, by the sockets of Apply InstantID."""
        self.instantid = {
            "instantid": self.load("InstantIDModelLoader", "instantid_file", INSTANTID)[0],
            "insightface": self.add("InstantIDFaceAnalysis", provider="CPU")[0],
            "control_net": self.load("ControlNetLoader", "control_net_name", IDENTITY_NET)[0],
        }

    def pulid_models(self) -> None:
        """PuLID's adapter, its encoder and its face pack, by the sockets of Apply PuLID."""
        self.pulid = {
            "pulid": self.load("PulidModelLoader", "pulid_file", PULID)[0],
            "eva_clip": self.add("PulidEvaClipLoader")[0],
            "face_analysis": self.add("PulidInsightFaceLoader", provider="CPU")[0],
        }

    def apply_instantid(self, person: Link, title: str = "", /, **more: object) -> Node:
        common = {"image": person, "model": self.model, **self.instantid}
        return self.add("ApplyInstantID", title, **(common | {"weight": 0.8} | more))

    def apply_pulid(self, person: Link) -> Link:
        """Version 1.1 with its authors' numbers."""
        numbers = {"weight": 0.8, "projection": "ortho_v2", "fidelity": 20}
        return self.add("ApplyPulidAdvanced", image=person, model=self.model, **self.pulid, **numbers)[0]


@lesson("instantid_one_person", Identity)
def one_person(k: Identity) -> None:
    k.bare_models()
    k.instantid_models()
    k.next()
    person, pose = k.picture("person", "The person"), k.picture("second person", "A photo with the pose")
    latent = k.latent()
    k.next()
    drawn = k.add(
        "IPAdapterFaceKeypoints", image=pose, insightface=k.instantid["insightface"], people="one face", face="largest",
        canvas=latent,
    )  # fmt: skip
    words = k.conditions(SAILOR, "")
    k.next()
    applied = k.apply_instantid(person, image_kps=drawn[0], canvas=latent, **words)
    k.next()
    picture = k.sample(applied[0], positive=applied[1], negative=applied[2], latent_image=latent)
    k.next()
    k.save(picture)


@lesson("instantid_two_people", Identity)
def two_people(k: Identity) -> None:
    k.bare_models()
    k.instantid_models()
    latent = k.latent(wide=True)
    k.next()
    people = k.picture("person", "The one on the left"), k.picture("second person", "The one on the right")
    k.next()
    masks = halves(k, latent)
    texts = (
        k.text("a woman in a space suit, in a library", "", "Text of the left half"),
        k.text("an admiral in uniform, in a library", "", "Text of the right half"),
    )
    negative = k.nothing()
    k.next()
    applied: list[Node] = []
    for side, person, mask, text in zip(("Left", "Right"), people, masks, texts, strict=True):
        model = applied[-1][0] if applied else k.model
        more = {"positive": text, "negative": negative, "mask": mask, "canvas": latent}
        applied.append(k.apply_instantid(person, side, model=model, place="the photo in the mask", **more))
    k.next()
    left, right = applied
    positive = k.add("ConditioningCombine", "Both texts", conditioning_1=left[1], conditioning_2=right[1])[0]
    both_negative = k.add("ConditioningCombine", "Both negatives", conditioning_1=left[2], conditioning_2=right[2])[0]
    k.next()
    picture = k.sample(right[0], positive=positive, negative=both_negative, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("person_in_a_style", Identity)
def person_in_a_style(k: Identity) -> None:
    k.models("plus")
    k.instantid_models()
    k.next()
    person, style = k.picture("person", "The person"), k.picture("style", "The style")
    latent = k.latent()
    k.next()
    styled = k.apply(style, "The style", weight=0.8, weight_type="style transfer")
    words = k.conditions("a portrait of a gardener, roses", "")
    k.next()
    applied = k.apply_instantid(person, "The person", model=styled, canvas=latent, **words)
    k.next()
    picture = k.sample(applied[0], positive=applied[1], negative=applied[2], latent_image=latent)
    k.next()
    k.save(picture)


@lesson("pulid", Identity)
def pulid(k: Identity) -> None:
    k.bare_models()
    k.pulid_models()
    k.next()
    person = k.picture("person", "The person")
    latent = k.latent()
    k.next()
    words = k.conditions("a portrait of a queen, stained glass window, many colours", "")
    applied = k.apply_pulid(person)  # last in its column: without a face parser, a note under it makes it higher
    k.next()
    numbers = {"steps": 25, "cfg": 7.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}  # of v1.1's authors
    common = {**words, "latent_image": latent, **numbers}
    pictures = [k.sample(model, title, **common) for model, title in ((k.model, "Without"), (applied, "With PuLID"))]
    k.sheet(pictures, ["without", "with PuLID"])


@lesson("which_face_adapter", Identity)
def which_face_adapter(k: Identity) -> None:
    k.models("plus face")
    plus_v2 = k.adapter("FaceID Plus V2")
    k.instantid_models()
    k.pulid_models()
    k.next()
    person, latent = k.picture("person", "The person"), k.latent()
    detector, scorer = face_pack(k), k.scorer()
    words = k.conditions(SAILOR, "")
    k.next()
    crop = k.add("IPAdapterFaceCrop", image=person, insightface=detector, crop="aligned")
    crop.part["size"] = [330, 420]
    with_lora = k.add("IPAdapterFaceIDLoRA", model=k.model, ipadapter=plus_v2, strength=0.6)[0]
    k.next()
    photo = k.apply(crop[0], "Photo: plus face", weight=0.8)
    face_id = k.add(
        "IPAdapterFaceID", "FaceID Plus V2", model=with_lora, ipadapter=plus_v2, image=person, clip_vision=k.vision,
        insightface=detector, weight=0.9, weight_faceidv2=1.0,
    )[0]  # fmt: skip
    k.next()
    instantid = k.apply_instantid(person, "InstantID", canvas=latent, **words)
    pulid = k.apply_pulid(person)
    k.next()
    common = {"latent_image": latent, "cfg": 5.0}
    face = {"positive": instantid[1], "negative": instantid[2]}
    ways = {
        "photo (plus face)": (photo, words), "FaceID Plus V2": (face_id, words), "InstantID": (instantid[0], face),
        "PuLID": (pulid, words),
    }  # fmt: skip
    pictures = [k.sample(model, name, **texts, **common) for name, (model, texts) in ways.items()]
    batch = k.sheet(pictures, list(ways))
    k.next()
    score = k.add(
        "IPAdapterScore", "Points 1 to 4: as on the sheet", images=batch, clip_vision=scorer, references=person,
        prompt=SAILOR, insightface=detector,
    )  # fmt: skip
    score.part["size"] = [420, 640]

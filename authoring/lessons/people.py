"""Lessons about people."""

from .kits import StableDiffusion
from .lesson import Link
from .registry import lesson

LORA = "ip-adapter-faceid-plusv2_sd15_lora.safetensors"


def face_pack(k: StableDiffusion, name: str = "buffalo_l") -> Link:
    return k.add("IPAdapterInsightFaceLoader", model_name=name)[0]


def face_id(k: StableDiffusion, model: Link, **more: object) -> Link:
    node = k.add("IPAdapterFaceID", model=model, ipadapter=k.ipadapter, **more)
    k.add("PreviewImage", "The face that was used", images=node[1])
    return node[0]


@lesson("same_person", StableDiffusion)
def same_person(k: StableDiffusion) -> None:
    k.models("FaceID")
    del k.nodes[k.vision.source]  # FaceID without Plus looks at no picture
    detector = face_pack(k)
    person = k.picture("person", "The person")
    k.next()
    model = k.add("IPAdapterFaceIDLoRA", model=k.model, ipadapter=k.ipadapter, strength=0.6)[0]
    k.next()
    applied = face_id(k, model, image=person, insightface=detector, weight=0.9)
    k.next()
    words = k.conditions("a portrait of a sailor on deck, storm, oil painting", "")
    latent = k.latent()
    k.next()
    picture = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(picture)


def plus_v2(k: StableDiffusion) -> Link:
    """Loaders, LoRA and apply node of FaceID Plus V2; the model that comes out."""
    k.models("FaceID Plus V2")
    detector = face_pack(k)
    person = k.picture("person", "The person")
    k.next()
    lora = k.load("LoraLoaderModelOnly", "lora_name", LORA)
    lora.part["links"]["model"] = list(k.model)
    lora.part["widgets"]["strength_model"] = 0.6
    applied = face_id(
        k, lora[0], image=person, clip_vision=k.vision, insightface=detector, weight=0.9, weight_faceidv2=1.0
    )
    k.next()
    return applied


@lesson("face_plus_v2_and_lora", StableDiffusion)
def face_plus(k: StableDiffusion) -> None:
    applied = plus_v2(k)
    words = k.conditions("a portrait of a baker, flour, morning light", "")
    latent = k.latent()
    k.next()
    picture = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("face_and_normal_map", StableDiffusion)
def face_and_normals(k: StableDiffusion) -> None:
    applied = plus_v2(k)
    normals = k.picture("normal_map.png", "Normal map")
    words = k.conditions("a marble bust in a museum", "")
    held = k.control_net("control_v11p_sd15_normalbae_fp16.safetensors", **words, image=normals, strength=0.8)
    k.next()
    latent = k.latent()
    picture = k.sample(applied, **held, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("left_person_only", StableDiffusion)
def left_person(k: StableDiffusion) -> None:
    k.models("plus face")
    person = k.picture("person", "The person on the left")
    pose = k.picture("two_people.png", "Pose of both")
    k.next()
    black = k.add("SolidMask", "Nowhere", value=0.0, width=512, height=512)[0]
    white = k.add("SolidMask", "Left half", value=1.0, width=256, height=512)[0]
    mask = k.add("MaskComposite", destination=black, source=white, x=0, y=0, operation="add")[0]
    applied = k.apply(person, weight=0.8, attn_mask=mask)
    k.next()
    words = k.conditions("two people in a garden, smiling, summer", "")
    held = k.control_net("control_v11p_sd15_openpose_fp16.safetensors", **words, image=pose, strength=0.9)
    k.next()
    latent = k.latent()
    picture = k.sample(applied, **held, latent_image=latent)
    k.next()
    k.save(picture)


@lesson("face_free_for_commercial_use", StableDiffusion)
def free_face(k: StableDiffusion) -> None:
    k.models("plus face")
    detector = face_pack(k, "auraface")
    person = k.picture("person", "The person")
    k.next()
    crop = k.add("IPAdapterFaceCrop", image=person, insightface=detector, crop="aligned")
    crop.part["size"] = [330, 420]
    k.next()
    applied = k.apply(crop[0], weight=0.8)
    k.next()
    words = k.conditions("a portrait in a garden, soft light", "")
    latent = k.latent()
    k.next()
    picture = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(picture)

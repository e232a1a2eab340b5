"""Lessons about encoded references, about Kolors, and the first of all: what runs at once."""

from .kits import Demo, Kit, StableDiffusion
from .lesson import Link
from .registry import lesson

KOLORS = "Kolors-IP-Adapter-Plus.bin"
SAVED = "IP_embeds_00001_.ipadpt [output]"


@lesson("encode_mix_save_load", StableDiffusion, Demo)
def encode_mix(k: Kit) -> None:
    k.models()
    pictures = [k.picture("style", "First"), k.picture("second", "Second")]
    k.next()
    encoded = [
        k.add("IPAdapterEncoder", ipadapter=k.ipadapter, clip_vision=k.vision, image=picture, weight=1.0)
        for picture in pictures
    ]
    mixed = k.add("IPAdapterCombineEmbeds", method="average", embed1=encoded[0][0], embed2=encoded[1][0])[0]
    k.add("IPAdapterSaveEmbeds", embeds=mixed, filename_prefix="IP_embeds")
    k.next()
    common = {"model": k.model, "ipadapter": k.ipadapter, "clip_vision": k.vision}
    applied = k.add("IPAdapterEmbeds", pos_embed=mixed, neg_embed=encoded[0][1], weight=0.8, **common)[0]
    loaded = k.add("IPAdapterLoadEmbeds", "Later: the saved mix", embeds=SAVED).mute()
    k.add("IPAdapterEmbeds", "Later: in place of the one above", pos_embed=loaded[0], weight=0.8, **common).mute()
    k.next()
    words = k.conditions("a vase on a table", "heart")
    latent = k.latent(batch=4)
    k.next()
    picture = k.sample(applied, **words, latent_image=latent)
    k.next()
    k.save(picture)


class Kolors(StableDiffusion):
    """ComfyUI itself cannot load Kolors' text encoder, so another pack's nodes stand before this graph."""

    encoder = "clip-vit-large-patch14-336.bin"
    size = (1024, 1024)
    adapters = {"plus": KOLORS}

    def models(self, adapter: str = "plus") -> None:
        self.ipadapter = self.adapter(adapter)
        self.vision = self.load("CLIPVisionLoader", "clip_name", self.encoder)[0]
        self.vae = self.load("VAELoader", "vae_name", "sdxl_vae.safetensors")[0]


@lesson("kolors", Kolors)
def kolors(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    applied = k.add(
        "IPAdapterAdvanced", ipadapter=k.ipadapter, clip_vision=k.vision, image=reference, weight=0.7
    )[0]  # fmt: skip
    k.next()
    latent = k.latent()
    picture: Link = k.sample(applied, latent_image=latent, steps=30, cfg=5.0)
    k.next()
    k.save(picture)


@lesson("try_it", Demo)
def try_it(k: Kit) -> None:
    k.models()
    reference = k.picture("style")
    k.next()
    applied = k.add(
        "IPAdapterApply", ipadapter=k.ipadapter, clip_vision=k.vision, image=reference, model=k.model, weight=0.8,
        weight_type="linear",
    )[0]  # fmt: skip
    latent = k.latent(batch=4)
    k.next()
    words = k.conditions("", "boat")
    k.next()
    picture = k.sample(applied, **words, latent_image=latent, seed=11)
    k.next()
    k.save(picture)

"""The lesson to begin with: the one node."""

from .kits import Demo, Kit
from .registry import lesson


@lesson("try_it", Demo)
def try_it(k: Kit) -> None:
    k.models()
    picture = k.picture("style")
    k.next()
    applied = k.add("IPAdapterReference", model=k.model, image=picture, take="everything", strength=1.0)[0]
    latent = k.latent(batch=4)
    k.next()
    words = k.conditions("", "boat")
    k.next()
    drawn = k.sample(applied, **words, latent_image=latent, seed=11)
    k.next()
    k.save(drawn)

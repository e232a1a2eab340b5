"""The lesson to begin with: the one node."""

from .kits import Demo, Kit
from .registry import lesson


@lesson("try_it", Demo)
def try_it(k: Kit) -> None:
    k.put_note_above()  # four columns: a window of 1280 pixels shows all of them with their letters
    k.models()
    k.next()
    picture = k.picture("style")
    applied = k.add("IPAdapterReference", model=k.model, image=picture, take="everything", strength=1.0)[0]
    k.next()
    words = k.conditions("", "boat")
    drawn = k.sampler(applied, **words, latent_image=k.latent(batch=4), seed=11)
    k.next()
    saved = k.save(k.decode(drawn))
    saved.part["at"][1] = -1  # on top of its column: the page's minimap lies over the lower right corner

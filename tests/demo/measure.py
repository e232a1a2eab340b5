"""Everything that the demo models are held to, and the table of it."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from demo.judging import Judges, palette_of, percent
from demo.photos import crops
from demo.studio import Studio, Wire, following, plain, two_halves
from harness.demo_graph import SIZE

LEFT, RIGHT = (torch.arange(SIZE) < SIZE // 2).expand(SIZE, -1), (torch.arange(SIZE) >= SIZE // 2).expand(SIZE, -1)
WEIGHTS = (0.0, 0.4, 0.8, 1.0)
Draw = Callable[..., Tensor]


def measure(studio: Studio, weights: tuple[float, ...] = WEIGHTS) -> dict[str, Any]:
    """All rows, in percent and in OKLab distances."""
    judges = Judges(studio)
    bar = tqdm(total=len(weights) + 5, desc="200 pictures each")

    def draw(wire: Wire, *more: Any) -> Tensor:
        bar.update()
        return studio.draw(wire, *more)

    by_weight = {weight: draw(following(weight) if weight else plain) for weight in weights}
    results = (
        {"pictures": len(studio.rows), "classifier on drawn pictures": classifiers(judges)}
        | measure_whole(judges, by_weight, draw)
        | measure_halves(judges, by_weight[0.0], draw)
        | measure_photos(judges, draw)
    )
    bar.close()
    return results


def classifiers(judges: Judges) -> dict[str, float]:
    drawn = judges.studio.drawn
    return {
        "contents": judges.right_content(drawn.pictures / 255, drawn.words),
        "textures": judges.right_texture_of_drawn(),
    }


def measure_whole(judges: Judges, by_weight: dict[float, Tensor], draw: Draw) -> dict[str, Any]:
    """Colours, contents, textures and clean shapes of pictures that follow one reference everywhere."""
    studio, own = judges.studio, judges.studio.palettes
    plus, strong = draw(following(), "plus"), draw(following(1.0), "plus")
    made = {"standard": by_weight[0.8], "plus": plus, "no adapter": by_weight[0.0]}
    return {
        "nearest palette": {name: percent(judges.nearest(pictures, own)) for name, pictures in made.items()},
        "content": {name: judges.right_content(pictures, studio.words) for name, pictures in made.items()},
        "distance by weight": {str(w): judges.distance(p, own) for w, p in by_weight.items()},
        "distance": {name: judges.distance(made[name], own) for name in ("standard", "plus")},
        "texture": {
            "plus": judges.right_texture(strong, studio.textures),
            "no adapter": judges.right_texture(made["no adapter"], studio.textures),
        },
        "from clean shapes": {"floor": round(judges.floor, 4)}
        | {name: judges.from_clean(made[name]) for name in ("standard", "plus", "no adapter")},
    }


def measure_halves(judges: Judges, unadapted: Tensor, draw: Draw) -> dict[str, Any]:
    """Masks keep references where they belong."""
    studio, own = judges.studio, judges.studio.palettes
    left, both = draw(following(half="left"), "plus"), draw(two_halves, "plus")
    outside = torch.stack([palette_of(picture, RIGHT) for picture in unadapted])
    match = judges.nearest(both, own, LEFT) & judges.nearest(both, studio.other_palettes, RIGHT)
    return {
        "left half": {
            "inside": percent(judges.nearest(left, own, LEFT)),
            "outside": percent(judges.nearest(left, outside, RIGHT)),
        },
        "two halves": {"both match": percent(match)},
    }


def measure_photos(judges: Judges, draw: Draw) -> dict[str, Any]:
    photos = crops(len(judges.studio.rows))
    palettes = torch.stack([palette_of(one / 255) for one in photos])
    return {"photographs": {"plus": percent(judges.nearest(draw(following(), "plus", photos), palettes))}}


def rows(results: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What, at least, and measured: the table of the documentation."""
    by_weight = list(results["distance by weight"].items())
    falls = all(a[1] > b[1] for a, b in zip(by_weight, by_weight[1:], strict=False))
    near, half = results["distance"], results["left half"]
    for variant in ("standard", "plus"):
        right = results["nearest palette"][variant]
        yield f"nearest palette among 8 is the reference's, weight 0.8, {variant}", "95 %", f"{right} %"
    for variant in ("standard", "plus"):
        right = results["content"][variant]
        yield f"content follows the words, weight 0.8, {variant}", "95 %", f"{right} %"
    yield (
        "palette distance falls with the weight, standard", "yes",
        f"{'yes' if falls else 'no'}: {', '.join(f'{d} at {w}' for w, d in by_weight)}",
    )  # fmt: skip
    yield "left-half mask, plus: the reference's palette inside", "90 %", f"{half['inside']} %"
    yield "left-half mask, plus: the unadapted picture's palette outside", "90 %", f"{half['outside']} %"
    yield "two references, two halves, plus: both match", "85 %", f"{results['two halves']['both match']} %"
    yield from judged_rows(results)
    yield (
        "plus comes nearer to the reference than standard", "yes",
        f"{'yes' if near['plus'] < near['standard'] else 'no'}: {near['plus']} and {near['standard']}",
    )  # fmt: skip


def judged_rows(results: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What classifiers say."""
    texture, clean = results["texture"]["plus"], results["from clean shapes"]
    yield (
        "texture of the reference among 10, weight 1, plus", "70 %",
        f"{texture['all']} % ({texture['shown in training']} % of textures that training showed, "
        f"{texture['new']} % of new ones)",
    )  # fmt: skip
    for variant in ("standard", "plus"):
        yield f"distance from clean shapes, in floors, weight 0.8, {variant}", "3 or less", str(clean[variant])
    yield "palette of a photograph among 8, weight 0.8, plus", "80 %", f"{results['photographs']['plus']} %"
    for what, right in results["classifier on drawn pictures"].items():
        yield f"the classifier of {what} itself, on new drawn pictures", "97 %", f"{right} %"
